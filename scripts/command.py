"""Common start-up of the scripts: flag parsing, one-line error messages and exit codes.

This module does not import TensorFlow, so that `--help` and flag errors are fast. A script that
needs it calls `load("tensorflow")` after checking its flags and before importing the library.
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

# Operating system errors that the user can fix: disk full, over quota, file too large, read-only,
# not permitted, a file where a folder is needed.
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
    """Runs `main(argv)` under absl and exits with its return code.

    User errors (TalkingHeadError, ConfigError and some OSErrors) are printed as one line on stderr,
    with exit code 1; --help exits with 0, an interrupt with 130.
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
    """Raises InputError if `argv`, the program name and what absl left, has further arguments."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option is a --flag")


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Prints a warning as one line on stderr; for `warnings.showwarning`."""
    print(f"warning: {message}", file=sys.stderr)


def define_optional_value(name, explanation, module_name, values=flags.FLAGS):
    """Defines a flag whose value is optional: True for --NAME, the text for --NAME=TEXT.

    The value is None if the flag is not given, and for --noNAME. absl lists the flag as one of
    `module_name`.
    """
    known = {"true": True, "false": None}
    parser, serializer = flags.ArgumentParser(), flags.ArgumentSerializer()
    parser.parse = lambda text: known.get(text, text)
    flag = flags.Flag(parser, serializer, name, None, explanation, boolean=True)
    flags.DEFINE_flag(flag, values, module_name)


def load(package):
    """Imports a package (tensorflow, apache_beam) with stderr suppressed during the import.

    No setting turns off the messages printed at import, which would hide a script's own errors.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # the descriptor rather than sys.stderr, since C++ code writes to it too
    try:
        importlib.import_module(package)
    finally:  # stderr is restored before an exception is printed
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
    """Hides INFO messages of TensorFlow and Beam; --verbosity=0 shows them."""
    logging.set_verbosity(logging.WARNING)
    # tf.get_logger() by its name, since TensorFlow is not imported yet.
    standard_logging.getLogger("tensorflow").setLevel("WARNING")


def _refuse(error):
    print(f"error: {error}", file=sys.stderr)
    return 1
