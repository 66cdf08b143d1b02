"""The errors a user can cause.

The library raises them; scripts print them as one line and exit with 1. Each message says what was
expected, what came, and what to do. `ConfigError`, for a configuration's values, is in
config_checks.py.
"""


class TalkingHeadError(Exception):
    """Base of the errors that a user can cause; any other exception is a bug in this code."""


class InputError(TalkingHeadError):
    """A file, folder, name or value given by the user cannot be used."""


class NoFaceError(TalkingHeadError):
    """No usable face in an image or clip."""
