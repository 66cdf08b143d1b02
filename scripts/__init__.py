"""Command-line entry points: flags, a config, one library call. Run as `python -m scripts.NAME`.

An installed wheel has them as subcommands of `talkinghead` (see __main__.py).
"""

PROGRAM = "python -m scripts."  # what stands before a script's name in its help
