"""How every script starts and ends: absl flags in, one line for a user's error, exit code out.

Nothing here imports TensorFlow, so that `--help` and a wrong flag answer at once. A script that
needs it calls `load("tensorflow")` once its flags are checked, before it imports the library.
"""

import errno
import importlib
import logging as standard_logging
import os
import re
import sys

from absl import app, flags, logging

import scripts
from tf_talkinghead.config import ConfigError
from tf_talkinghead.errors import InputError, TalkingHeadError

# What the operating system refuses and the user can mend: disk full, over quota, file too large,
# read-only, not permitted, a file where a folder is needed.
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
    """Run `main(argv)` under absl and exit with its code.

    A user's error becomes one line on stderr and exit code 1; --help exits with 0.
    """

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


def no_arguments(argv):
    """Refuse words that are not flags; argv as absl leaves it, the program's name first."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option is a --flag")


def load(package):
    """Import a package (tensorflow, apache_beam) without what it writes to stderr while it loads.

    No setting turns those lines off, and a script's one-line errors would drown in them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # the descriptor itself: C++ writes to it as well
    try:
        importlib.import_module(package)
    finally:  # an exception is printed after this, so it is seen
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _parse(argv):
    if any(argument in _HELP for argument in argv[1:]):
        script = sys.modules["__main__"]
        script.__doc__ = script.__doc__.replace("python -m scripts.", scripts.PROGRAM)
        app.usage(shorthelp=True, writeto_stdout=True)  # the script's own flags, without absl's
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        message = re.sub(
            r"flag --(\w+)=None: Flag --\1 must have a value other than None\.",
            r"--\1 is needed.",
            str(error),
        )
        sys.exit(_refuse(f"{' '.join(message.split())} (--help lists the flags)"))
    if not flags.FLAGS["verbosity"].present:
        _hide_information()
    return rest


def _hide_information():
    """Leave out TensorFlow's and Beam's messages of level INFO; --verbosity=0 shows them."""
    logging.set_verbosity(logging.WARNING)
    # by name, as tf.get_logger() has it: TensorFlow is not imported yet
    standard_logging.getLogger("tensorflow").setLevel("WARNING")


def _refuse(error):
    print(f"error: {error}", file=sys.stderr)
    return 1
