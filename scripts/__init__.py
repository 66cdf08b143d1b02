"""Command-line entry points: flags, a config, one library call. Run as `python -m scripts.NAME`.

An installed wheel has them as subcommands of `talkinghead` (see talkinghead.py).
"""
