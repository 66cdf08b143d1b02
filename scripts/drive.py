"""Drives a served avatar with a video, webcam, script, motion file or expressions; writes an mp4.

    python -m scripts.drive --server=HOST:8500 --person=ann --driver=clip.mp4 --output=out.mp4
    python -m scripts.drive --server=HOST:8500 --person=ann --driver=scripted --output=out.mp4
    python -m scripts.drive --server=HOST:8500 --person=ann --expression=talk.csv --output=out.mp4

The driver's frame rate and sound are kept. With --adapt=relative (the default) the motion of
another person is adapted to the avatar's face shape. Frames without a face repeat the last pose. If
the server is unreachable for longer than --timeout, the video ends with the last rendered frame and
the exit code is 1. The last line on stdout is JSON. The file's metadata marks it as AI-generated,
and a signed manifest (Content Credentials) records how it was made.
"""

import contextlib
import json
import os
import pathlib
import tempfile
import warnings

from absl import flags

from scripts import command, drive_flags, tls_flags
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.provenance import consent_sentence, watermark_sentence

FLAGS = flags.FLAGS
for _module in (drive_flags, tls_flags):
    flags.adopt_module_key_flags(_module)  # --help lists them

# Frames per request. A guided avatar needs less time per frame for four at once than for one
# (`benchmark guided`).
ROWS = 4


def main(argv):
    command.no_arguments(argv)
    drive_flags.check()

    # Imported after the flags are checked: OpenCV, PyAV and gRPC are slow to import.
    from serving.client import AvatarClient
    from tf_talkinghead.disclosure.caption import disclosing
    from tf_talkinghead.disclosure.credentials import sign_made
    from tf_talkinghead.driving import driver, film, motion_file, retargeting

    warnings.showwarning = command.show_warning
    steering = drive_flags.steering()
    saved = None  # motion_file.Motion of --expression or of a motion file as --driver
    if path := FLAGS.expression or drive_flags.motion_file_driver():
        flag = "--expression" if FLAGS.expression else "--driver"
        saved = motion_file.read_motion_file(path, flag)
    by_numbers = saved is not None and (FLAGS.expression or saved.landmarks is None)
    with contextlib.ExitStack() as stack:
        client = AvatarClient(
            FLAGS.server,
            FLAGS.person,
            FLAGS.bank,
            timeout=FLAGS.timeout,
            in_flight=FLAGS.in_flight,
            tls=tls_flags.tls(),
        )
        stack.enter_context(client)
        card = client.card() or {}
        face = _face(card, needed=FLAGS.adapt == "relative" or FLAGS.driver == "scripted")
        ground = _ground(card) if FLAGS.paste_back else None
        if by_numbers:
            motion, fps = None, FLAGS.fps
            points = retargeting.expressed_on_avatar(saved, face, fps, steering)
        else:
            motion = _motion(stack, face, saved)
            fps = motion.fps
            points = retargeting.on_avatar(motion, face, steering, FLAGS.adapt)
        if FLAGS.save_motion:
            motion_file.write_motion_file(
                FLAGS.save_motion, retargeting.saved_motion(motion) if motion else saved
            )
        rows = min(ROWS, card.get("max_batch_size", ROWS))

        def stream(landmarks):
            return client.stream(landmarks, rows)

        result = film.film(
            points,
            disclosing(stream) if FLAGS.disclose else stream,
            FLAGS.output,
            fps,
            beside=(lambda size: driver.driver_crops(motion, size)) if FLAGS.side_by_side else None,
            onto=ground.pasted if ground else None,
            audio_from=motion.path if motion and motion.has_audio else None,
            title=f"{FLAGS.person}, AI-generated",
        )
    if FLAGS.sign:
        source = motion.path if motion and motion.path and os.path.exists(motion.path) else None
        print(sign_made(result.path, card, source, FLAGS.sign_cert, FLAGS.sign_key))
    print(f"{watermark_sentence(card)}; {consent_sentence(card)}")
    report = {
        "output": str(result.path),
        "frames": result.frames,
        "fps": round(fps, 6),
        "faceless_frames": int((~motion.seen).sum()) if motion else 0,
        "sound": bool(motion and motion.has_audio),
        "gaze": points.shape[1] == 70,
        "complete": result.error is None,
        "watermark": (card.get("watermark") or {}).get("id"),
        "signed": FLAGS.sign,
        "rendered_per_second": round(result.frames / max(result.seconds, 1e-9), 2),
    }
    if result.error:
        print(json.dumps({**report, "wanted": len(points)}), flush=True)
        raise InputError(
            f"the film ends after {result.frames} of {len(points)} frames: {result.error}"
        )
    print(json.dumps(report))


def _face(card, needed):
    """The AvatarFace of the card; None where the card has no landmarks and none are needed."""
    from tf_talkinghead.driving.retargeting import AvatarFace

    if card.get("reference_landmarks") is not None:
        return AvatarFace.of(card)
    if needed or FLAGS.expression:
        raise InputError(
            f"{FLAGS.person}: the avatar's card has no reference landmarks; use --driver=VIDEO "
            "and --adapt=none"
        )
    return None


def _ground(card):
    """The picture of --paste_back: --ground, or the copy in the person's work folder."""
    from tf_talkinghead.driving import paste_back
    from tf_talkinghead.export import store

    if not card.get("crop"):
        raise InputError(
            f"--paste_back: the card of {FLAGS.person} does not say where the face lies in its "
            "picture; run scripts.personalize again"
        )
    path = FLAGS.ground
    if path is None and FLAGS.models:
        path = paste_back.kept_ground(store.places(FLAGS.models, FLAGS.person))
    if path is None:
        where = (
            f"no copy of it lies in --models={FLAGS.models}"
            if FLAGS.models
            else ("or --models=FOLDER, where the avatar was made")
        )
        raise InputError(f"--paste_back needs --ground=PICTURE, the whole photo; {where}")
    return paste_back.open_ground(path, card["crop"])


def _motion(stack, face, saved):
    """The driver's motion; a webcam is recorded to a file first, to keep its timing."""
    from tf_talkinghead.driving import driver, retargeting
    from tf_talkinghead.faces.landmarks import DlibLandmarks

    path = FLAGS.driver
    if path == "scripted":
        return retargeting.scripted_driver(face, FLAGS.fps)
    if saved is not None:
        return retargeting.driver_of(saved, path)
    if path == "webcam":
        from tf_talkinghead.driving.webcam import record_webcam

        path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "webcam.mp4"
        record_webcam(path, FLAGS.seconds)
    model = DlibLandmarks(FLAGS.landmark_model) if FLAGS.landmark_model else None
    return driver.read_driver(
        path,
        PreparationConfig(),
        model,
        FLAGS.smooth,
        face=FLAGS.face,
        neutral=FLAGS.neutral,
        gaze=FLAGS.gaze and (bool(FLAGS.save_motion) or (face is not None and face.gaze)),
    )


if __name__ == "__main__":
    command.run(main)
