"""Runs the whole workflow on a person's images: personalize, publish, serve, drive to a video.

    python -m scripts.quickstart
    python -m scripts.quickstart --images=me1.jpg,me2.jpg --person=me --driver=clip.mp4

Prints the command of each step and its duration. `bash scripts/quickstart.sh` installs the
dependencies first.
"""

import atexit
import contextlib
import json
import pathlib
import re
import shlex
import subprocess
import sys
import time

from absl import flags

from scripts import command
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "images", [], "Photos, folders or videos of one person; default: Eileen Collins's portrait."
)
flags.DEFINE_string(
    "driver", "scripted", "Driver motion: a video, or scripted (turn, nod, blink, talk)."
)
flags.DEFINE_string(
    "person", None, "Name of the avatar; default: collins, or the first image's name."
)
flags.DEFINE_integer("steps", None, "Fine-tuning steps; default: the run's.", lower_bound=0)
flags.DEFINE_string(
    "weights",
    "guided",
    "guided (256 px, no fine-tuning), demo (128 px, fine-tuned), or a run directory of "
    "scripts.meta_train.",
)
flags.DEFINE_string("output", "quickstart", "Folder of all output files.")
flags.DEFINE_string(
    "consent", None, "Statement of the consent of the person shown, for card and manifest."
)

_PORTRAIT_CONSENT = (
    "Official NASA portrait, public domain, animated as a demonstration; "
    "no consent to the animation was asked."
)


def main(argv):
    command.no_arguments(argv)
    for path in [*FLAGS.images, *([] if FLAGS.driver == "scripted" else [FLAGS.driver])]:
        if not pathlib.Path(path).exists():
            raise InputError(f"{path}: no such file")
    folder = pathlib.Path(FLAGS.output)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
    if not folder.is_dir():
        raise InputError(f"--output={folder}: not a folder")
    images = FLAGS.images or [str(_portrait(folder))]
    person = FLAGS.person or (_name_of(images[0]) if FLAGS.images else "collins")
    models, film = folder / "models", folder / "talking_head.mp4"
    took = {}

    personalize = [
        "personalize",
        f"--weights={FLAGS.weights}",
        f"--person={person}",
        f"--images={','.join(images)}",
        f"--models={models}",
        "--keep_versions=2",
    ]
    consent = FLAGS.consent or (None if FLAGS.images else _PORTRAIT_CONSENT)
    if consent:
        personalize.append(f"--consent={consent}")
    if FLAGS.steps is not None:
        personalize.append(f"--steps={FLAGS.steps}")
    _run("personalise and publish", personalize, took)
    address = _serve(models, took)
    drive = [
        "drive",
        f"--server={address}",
        f"--person={person}",
        f"--driver={FLAGS.driver}",
        f"--output={film}",
    ]
    if FLAGS.driver != "scripted":
        drive.append("--side_by_side")
    report = json.loads(_run("drive and film", drive, took).splitlines()[-1])
    # Imported here since OpenCV and c2pa would slow --help down.
    from tf_talkinghead.disclosure.credentials import sign_made
    from tf_talkinghead.driving.contact_sheet import write_contact_sheet

    sheet = write_contact_sheet(folder / "contact_sheet.png", film, images)
    sign_made(sheet, _card(models / person))

    print(f"\n{film}  {report['frames']} frames at {report['fps']:g} a second, AI-generated")
    print(f"{sheet}  the input and frames of the film")
    print(f"{models}/{person}/  the SavedModel, as TensorFlow Serving hosts it")
    print("\n" + "\n".join(f"{seconds:7.1f} s  {step}" for step, seconds in took.items()))
    print(f"{sum(took.values()):7.1f} s  in all")
    print(f"""
Next:
  another person, from photos or a clip:
    bash scripts/quickstart.sh --images=you1.jpg,you2.jpg --person=you
  another motion, with its sound:
    bash scripts/quickstart.sh --driver=clip.mp4
  serve the avatar, and drive it from a webcam:
    .venv/bin/python -m scripts.serve --models={models} --port=8500
    .venv/bin/python -m scripts.drive --server=localhost:8500 --person={person} --driver=webcam \\
      --output=me.mp4
Only with the consent of the people shown.""")


def _portrait(folder):
    """Writes the portrait of Eileen Collins (NASA, public domain) from scikit-image; its path."""
    import PIL.Image
    from skimage import data

    path = folder / "collins.png"
    PIL.Image.fromarray(data.astronaut()).save(path)
    return path


def _card(model):
    """The card of a model's newest version."""
    versions = [path for path in model.iterdir() if path.name.isdigit()]
    newest = max(versions, key=lambda path: int(path.name))
    return json.loads((newest / "card.json").read_text())


def _name_of(path):
    return re.sub(r"[^a-z0-9_-]+", "-", pathlib.Path(path).stem.lower()).strip("-_") or "person"


def _run(step, arguments, took):
    """Runs a script and returns its stdout; adds its duration in seconds to `took`.

    Raises:
      InputError: the script failed; it has already printed the reason.
    """
    print(f"\n== {step}\n$ python -m scripts.{shlex.join(arguments)}", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"scripts.{arguments[0]}", *arguments[1:]],
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode:
        raise InputError(f"{step} failed: see the message above")
    took[step] = time.monotonic() - started
    return done.stdout


def _serve(models, took):
    """Starts the embedded server on a free port until this process ends; returns its address."""
    arguments = ["serve", f"--models={models}", "--port=0"]
    print(f"\n== serve over gRPC\n$ python -m scripts.{shlex.join(arguments)}", flush=True)
    started = time.monotonic()
    server = subprocess.Popen(
        [sys.executable, "-m", f"scripts.{arguments[0]}", *arguments[1:]],
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.wait)
    atexit.register(server.terminate)  # runs before the wait
    for line in server.stdout:
        print(line, end="", flush=True)
        if match := re.match(r"listening on (\S+)", line):
            took["start the server"] = time.monotonic() - started
            return match[1]
    raise InputError("the server did not start: see the message above")


if __name__ == "__main__":
    command.run(main)
