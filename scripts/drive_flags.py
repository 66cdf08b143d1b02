"""Flags of `scripts.drive`, and the checks that need only the flags' values."""

import math
import pathlib

from absl import flags

from scripts import command
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS
STRENGTHS = ("pose", "eyes", "lips", "brows")

flags.DEFINE_string(
    "server", "localhost:8500", "HOST:PORT of TensorFlow Serving or of scripts.serve."
)
flags.DEFINE_string("person", None, "Name of the avatar.", required=True)
flags.DEFINE_string(
    "driver",
    None,
    "Driver motion: a video or photo, webcam, scripted (turn, nod, blink, talk), or a motion file "
    "of --save_motion.",
)
flags.DEFINE_string(
    "expression",
    None,
    "CSV or JSON of expressions over time, in place of a driver: columns time, yaw, jaw, ...",
)
flags.DEFINE_string("output", None, "The mp4 to write.", required=True)
command.define_optional_value(
    "bank",
    "The avatar is in the shared bank. A bank of direct avatars also needs its vectors: "
    "--bank=MODELS/bank, or a version's vectors.npz.",
    __name__,
)
flags.DEFINE_enum(
    "adapt",
    "relative",
    ["none", "relative"],
    "Landmark adaptation: relative uses the avatar's face shape, none keeps the driver's.",
)
for _name, _what in (
    ("pose", "head turns and moves"),
    ("eyes", "lids and gaze"),
    ("lips", "jaw and mouth"),
    ("brows", "brows"),
):
    flags.DEFINE_float(_name, 1.0, f"Strength of {_what}, 0 to 1.5.")
flags.DEFINE_boolean("head_still", False, "Keep the head in its neutral pose; same as --pose=0.")
flags.DEFINE_boolean(
    "gaze", True, "Move the avatar's eyes as the driver's eyes move, if the avatar takes pupils."
)
flags.DEFINE_string(
    "face",
    None,
    "Which face of the driver's video: largest, left, or a number counted from the left; default: "
    "the one seen in most frames.",
)
flags.DEFINE_float(
    "neutral",
    None,
    "Time in seconds at which the face in the driver's video is neutral; default: its most neutral "
    "frame.",
)
flags.DEFINE_string(
    "save_motion", None, "Write the motion to this .json (landmarks too) or .csv, to use again."
)
flags.DEFINE_boolean(
    "paste_back", False, "Put the moved head back into the whole photo that it was cropped from."
)
flags.DEFINE_string("ground", None, "File of the whole photo, for --paste_back.")
flags.DEFINE_string(
    "models", None, "Folder of all models; --paste_back takes the copy of the photo from there."
)
flags.DEFINE_boolean("smooth", True, "Smooth the landmarks (One-Euro filter).")
flags.DEFINE_boolean("side_by_side", False, "Show the driver to the left of the avatar.")
flags.DEFINE_string(
    "landmark_model", None, "A 68-point predictor in dlib's format; default: the packaged one."
)
flags.DEFINE_float("seconds", 10.0, "Duration of the webcam recording.", lower_bound=0.1)
flags.DEFINE_float(
    "fps",
    25.0,
    "Frames per second of scripted motion and of expressions.",
    lower_bound=1.0,
    upper_bound=120.0,
)
flags.DEFINE_float(
    "timeout", 30.0, "Seconds to retry while the server does not answer.", lower_bound=0.1
)
flags.DEFINE_integer("in_flight", 4, "Number of concurrent requests.", lower_bound=1)
flags.DEFINE_bool("disclose", False, "Burn a small caption, AI-generated, into every frame.")
flags.DEFINE_bool("sign", True, "Sign the film with a C2PA manifest (Content Credentials).")
flags.DEFINE_string(
    "sign_cert",
    None,
    "PEM file of the signer's certificates; default: $TALKINGHEAD_SIGN_CERT, or a local one, made "
    "at the first use.",
)
flags.DEFINE_string(
    "sign_key", None, "PEM file of the signer's private key; default: $TALKINGHEAD_SIGN_KEY."
)


def check() -> None:
    """Raises InputError, naming the flag, for invalid values and combinations."""
    if pathlib.Path(FLAGS.output).suffix.lower() != ".mp4":
        raise InputError(f"--output={FLAGS.output}: expected a name ending in .mp4")
    if (FLAGS.driver is None) == (FLAGS.expression is None):
        raise InputError("expected exactly one of --driver and --expression")
    if (
        FLAGS.driver not in (None, "scripted", "webcam")
        and not pathlib.Path(FLAGS.driver).is_file()
    ):
        raise InputError(f"--driver={FLAGS.driver}: no such file")
    if FLAGS.side_by_side and (FLAGS.driver in (None, "scripted") or motion_file_driver()):
        raise InputError("--side_by_side needs a driver with images: a video, photo or webcam")
    if FLAGS.side_by_side and FLAGS.paste_back:
        raise InputError("--side_by_side cannot be combined with --paste_back")
    if FLAGS.head_still and FLAGS["pose"].present:
        raise InputError("--head_still is --pose=0: give only one of the two")
    if not FLAGS.paste_back:
        for name in ("ground", "models"):
            if FLAGS[name].value is not None:
                raise InputError(f"--{name} needs --paste_back")
    if FLAGS.ground is not None and not pathlib.Path(FLAGS.ground).is_file():
        raise InputError(f"--ground={FLAGS.ground}: no such file")
    if FLAGS.save_motion and pathlib.Path(FLAGS.save_motion).suffix.lower() not in (
        ".json",
        ".csv",
    ):
        raise InputError(f"--save_motion={FLAGS.save_motion}: expected a .json or .csv name")
    if FLAGS.neutral is not None and not (math.isfinite(FLAGS.neutral) and FLAGS.neutral >= 0):
        raise InputError(f"--neutral={FLAGS.neutral:g}: expected a time in seconds, 0 or more")
    for name in ("face", "neutral"):
        if FLAGS[name].value is not None and (
            FLAGS.driver in (None, "scripted") or motion_file_driver()
        ):
            raise InputError(f"--{name} needs a driver with images: a video, photo or webcam")
    if FLAGS.face is not None:
        from tf_talkinghead.driving.face_choice import check_face  # imports OpenCV

        check_face(FLAGS.face)
    steering()


def steering():
    """The strengths as a Steering; InputError names a flag whose value is out of range."""
    from tf_talkinghead.driving.strengths import Steering, checked_strengths  # imports numpy

    values = {name: FLAGS[name].value for name in STRENGTHS}
    if FLAGS.head_still:
        values["pose"] = 0.0
    return Steering(**checked_strengths(**values))


def motion_file_driver() -> str | None:
    """The value of --driver where it names a motion file."""
    if FLAGS.driver and pathlib.Path(FLAGS.driver).suffix.lower() in (".json", ".csv"):
        return FLAGS.driver
    return None
