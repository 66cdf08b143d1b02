"""How every script starts and ends: absl flags in, one line for a user's error, exit code out."""

import errno
import re
import sys

import tensorflow
from absl import app, flags, logging

from tf_talkinghead.config import ConfigError
from tf_talkinghead.errors import TalkingHeadError

# What the machine refuses, and its user can mend: disk full, over quota, too large, read-only, not allowed, a file for a folder.
_REFUSED = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
)
_HELP = ("--help", "-help", "--h", "-h", "-?")


def run(main):
    """Run `main(argv)` under absl; a user's error becomes one line on stderr and exit code 1, --help exit code 0."""

    def guarded(argv):
        try:
            return main(argv)
        except (TalkingHeadError, ConfigError) as error:
            return _refuse(error)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            return _refuse(
                f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            )
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    app.run(guarded, flags_parser=_parse)


def _parse(argv):
    if any(argument in _HELP for argument in argv[1:]):
        app.usage(shorthelp=True, writeto_stdout=True)  # the script's own flags, without absl's
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
        if not flags.FLAGS["verbosity"].present:
            _hide_chatter()
        return rest
    except flags.Error as error:
        message = re.sub(
            r"flag --(\w+)=None: Flag --\1 must have a value other than None\.",
            r"--\1 is needed.",
            str(error),
        )
        sys.exit(_refuse(f"{' '.join(message.split())} (--help lists the flags)"))


def _hide_chatter():
    """TensorFlow and Beam tell at level INFO what only their makers want to know; --verbosity=0 shows it."""
    logging.set_verbosity(logging.WARNING)
    tensorflow.get_logger().setLevel("WARNING")


def _refuse(error):
    print(f"error: {error}", file=sys.stderr)
    return 1
