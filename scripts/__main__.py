"""Command `talkinghead` of an installed wheel: every script as a subcommand with its flags.

    talkinghead --help
    talkinghead drive --help

From a checkout, `python -m scripts` is equivalent. Only the subcommand's own module is imported, so
that an installation with the extra `drive` does not need the packages of the other scripts.
"""

import runpy
import sys

import scripts
import tf_talkinghead
from scripts import listing

_HELP = ("--help", "-help", "-h", "help")
_OURS = ("scripts", "serving", "tf_talkinghead")
# Subcommand -> extra of pyproject.toml with the packages it imports; "train" for the others.
_EXTRAS = {
    "benchmark": "all",
    "drive": "drive",
    "quickstart": "all",
    "serve": "serve",
    "studio": "studio",
    "verify": "drive",
}


def main():
    """Runs the subcommand that the command line names; returns the exit code."""
    name, *arguments = sys.argv[1:] or ["--help"]
    known = listing.describe()
    if name in _HELP:
        print(_usage(known))
        return 0
    if name == "--version":
        print(tf_talkinghead.__version__)
        return 0
    if name not in known:
        print(f"error: no command {name!r}; one of: {', '.join(known)}", file=sys.stderr)
        return 1
    scripts.PROGRAM = "talkinghead "  # prefix of script names in --help
    sys.argv = [f"talkinghead {name}", *arguments]
    try:
        runpy.run_module(f"scripts.{name}", run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] in _OURS:
            raise
        extra = _EXTRAS.get(name, "train")
        print(
            f"error: talkinghead {name} needs the package that provides {error.name!r}: "
            f"pip install 'tf-talkinghead[{extra}]'",
            file=sys.stderr,
        )
        return 1
    return 0


def _usage(known):
    width = max(map(len, known))
    return "\n".join(
        [
            "Usage: talkinghead COMMAND [FLAGS]",
            "",
            *(f"  {name:{width}}  {description}" for name, description in known.items()),
            "",
            "talkinghead COMMAND --help lists a command's flags; talkinghead --version prints "
            "the version.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
