"""The errors a user can cause.

Scripts print them as one line and exit with 1; the library raises them.

Each message says what was expected, what came, and what to do.
"""


class TalkingHeadError(Exception):
    """Base of every error that is not a fault of this code."""


class InputError(TalkingHeadError):
    """A file, folder, name or value given by the user cannot be used."""


class NoFaceError(TalkingHeadError):
    """No usable face in an image or clip."""
