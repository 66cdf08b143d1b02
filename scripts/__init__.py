"""Command-line entry points: flags, a config, one library call. Run as `python -m scripts.NAME`.

In an installed wheel they are the subcommands of `talkinghead` (see __main__.py).
"""

PROGRAM = "python -m scripts."  # prefix of the script names in help texts
