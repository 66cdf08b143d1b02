"""Checks pictures and films, from any program, for marks of synthetic media.

    python -m scripts.verify film.mp4 photo.jpg
    python -m scripts.verify --models=avatars --json film.mp4

Prints one sentence for each file: signature (Content Credentials), metadata, invisible watermark.
The exit code is 0 where all files are marked, 1 where one is not, 2 where one cannot be read.
"""

import json
import sys

from absl import flags

from scripts import command
from tf_talkinghead.errors import InputError, TalkingHeadError

FLAGS = flags.FLAGS
flags.DEFINE_string("models", None, "Folder of models whose avatars are recognised by their id.")
flags.DEFINE_string("watermark_key", None, "File of the watermark's key; default: the public key.")
flags.DEFINE_bool("json", False, "Print a JSON object for each file instead of a sentence.")

_MARKED, _NOT_MARKED, _UNREADABLE = 0, 1, 2


def main(argv):
    try:
        return _verify(argv[1:])
    except TalkingHeadError as error:
        print(f"error: {error}", file=sys.stderr)
        return _UNREADABLE  # 1 says "not marked"


def _verify(paths):
    """Checks `paths`; returns the exit code."""
    if not paths:
        raise InputError("name the pictures and films to check: scripts.verify FILE...")

    # Imported after the flags are checked: OpenCV, PyAV and c2pa are slow to import.
    from tf_talkinghead.disclosure.verification import known_avatars, verify
    from tf_talkinghead.watermark.keys import read_key

    key = read_key(FLAGS.watermark_key)
    avatars = known_avatars(FLAGS.models) if FLAGS.models else {}
    worst = _MARKED
    for path in paths:
        try:
            finding = verify(path, key, avatars)
        except TalkingHeadError as error:
            if FLAGS.json:
                print(json.dumps({"file": path, "error": str(error)}), flush=True)
            else:
                print(f"error: {error}", file=sys.stderr)
            worst = _UNREADABLE
            continue
        print(json.dumps(finding.to_dict()) if FLAGS.json else finding.sentence, flush=True)
        worst = max(worst, _MARKED if finding.marked else _NOT_MARKED)
    return worst


if __name__ == "__main__":
    command.run(main)
