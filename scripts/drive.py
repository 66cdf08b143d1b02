"""Drives a served avatar with the motion of a video, webcam or script, and writes an mp4.

    python -m scripts.drive --server=HOST:8500 --person=ann --driver=clip.mp4 --output=out.mp4
    python -m scripts.drive --server=HOST:8500 --person=ann --driver=scripted --output=out.mp4
    python -m scripts.drive --server=HOST:8500 --person=ann --driver=webcam --output=out.mp4

The driver's frame rate and sound are kept. With --adapt=relative (the default) the motion of
another person is adapted to the avatar's face shape. Frames without a face repeat the last pose. If
the server is unreachable for longer than --timeout, the video ends with the last rendered frame and
the exit code is 1. The last line on stdout is JSON. The file's metadata marks it as AI-generated.
"""

import contextlib
import json
import pathlib
import tempfile

from absl import flags

from scripts import command
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "server", "localhost:8500", "HOST:PORT of TensorFlow Serving or of scripts.serve."
)
flags.DEFINE_string("person", None, "Name of the avatar.", required=True)
flags.DEFINE_string(
    "driver",
    None,
    "Driver motion: a video or photo, webcam, or scripted (turn, nod, blink, talk).",
    required=True,
)
flags.DEFINE_string("output", None, "The mp4 to write.", required=True)
command.define_optional_value(
    "bank",
    "The avatar is in the shared bank. A bank of direct avatars also needs its vectors: "
    "--bank=MODELS/bank, or a version's vectors.npz.",
)
flags.DEFINE_enum(
    "adapt",
    "relative",
    ["none", "relative"],
    "Landmark adaptation: relative uses the avatar's face shape, none keeps the driver's.",
)
flags.DEFINE_boolean("smooth", True, "Smooth the landmarks (One-Euro filter).")
flags.DEFINE_boolean("side_by_side", False, "Show the driver to the left of the avatar.")
flags.DEFINE_string(
    "landmark_model", None, "A 68-point predictor in dlib's format; default: the packaged one."
)
flags.DEFINE_float("seconds", 10.0, "Duration of the webcam recording.", lower_bound=0.1)
flags.DEFINE_float(
    "fps", 25.0, "Frames per second of the scripted motion.", lower_bound=1.0, upper_bound=120.0
)
flags.DEFINE_float(
    "timeout", 30.0, "Seconds to retry while the server does not answer.", lower_bound=0.1
)
flags.DEFINE_integer("in_flight", 4, "Number of concurrent requests.", lower_bound=1)


def main(argv):
    command.no_arguments(argv)
    if pathlib.Path(FLAGS.output).suffix.lower() != ".mp4":
        raise InputError(f"--output={FLAGS.output}: expected a name ending in .mp4")
    scripted = FLAGS.driver == "scripted"
    if scripted and FLAGS.side_by_side:
        raise InputError("--side_by_side needs a driver with images: a video, photo or webcam")
    if not scripted and FLAGS.driver != "webcam" and not pathlib.Path(FLAGS.driver).is_file():
        raise InputError(f"--driver={FLAGS.driver}: no such file")

    # Imported after the flags are checked: OpenCV, PyAV and gRPC are slow to import.
    from serving.client import AvatarClient
    from tf_talkinghead.driving import driver
    from tf_talkinghead.driving.scripted_motion import scripted_motion

    with contextlib.ExitStack() as stack:
        client = AvatarClient(
            FLAGS.server, FLAGS.person, FLAGS.bank, timeout=FLAGS.timeout, in_flight=FLAGS.in_flight
        )
        stack.enter_context(client)
        reference = (client.card() or {}).get("reference_landmarks")
        if reference is None and (scripted or FLAGS.adapt == "relative"):
            raise InputError(
                f"{FLAGS.person}: the avatar's card has no reference landmarks; use --driver=VIDEO "
                "and --adapt=none"
            )
        if scripted:
            motion, landmarks, fps = None, scripted_motion(reference, fps=FLAGS.fps), FLAGS.fps
        else:
            motion = _motion(stack)
            landmarks, fps = driver.on_avatar(motion, reference, FLAGS.adapt), motion.fps
        film = driver.film(
            landmarks,
            client.stream,
            FLAGS.output,
            fps,
            beside=(lambda size: driver.driver_crops(motion, size)) if FLAGS.side_by_side else None,
            audio_from=motion.path if motion and motion.has_audio else None,
            title=f"{FLAGS.person}, AI-generated",
        )
    report = {
        "output": str(film.path),
        "frames": film.frames,
        "fps": round(fps, 6),
        "faceless_frames": int((~motion.seen).sum()) if motion else 0,
        "sound": bool(motion and motion.has_audio),
        "complete": film.error is None,
        "rendered_per_second": round(film.frames / max(film.seconds, 1e-9), 2),
    }
    if film.error:
        print(json.dumps({**report, "wanted": len(landmarks)}), flush=True)
        raise InputError(
            f"the film ends after {film.frames} of {len(landmarks)} frames: {film.error}"
        )
    print(json.dumps(report))


def _motion(stack):
    """The driver's motion; a webcam is recorded to a file first, to keep its timing."""
    from tf_talkinghead.driving import driver
    from tf_talkinghead.faces.landmarks import DlibLandmarks

    path = FLAGS.driver
    if path == "webcam":
        path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "webcam.mp4"
        driver.record_webcam(path, FLAGS.seconds)
    model = DlibLandmarks(FLAGS.landmark_model) if FLAGS.landmark_model else None
    return driver.read_motion(path, PreparationConfig(), model, FLAGS.smooth)


if __name__ == "__main__":
    command.run(main)
