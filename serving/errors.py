"""Error class and retry backoff of the client."""

import random

from tf_talkinghead.errors import TalkingHeadError

FIRST_BACKOFF, LARGEST_BACKOFF = 0.02, 1.0  # seconds


class AvatarError(TalkingHeadError):
    """The server refused a request or could not be reached; `code` is the grpc.StatusCode."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def backoff(attempt):
    """Seconds to wait after attempt number `attempt`, counted from 0: doubling, with jitter."""
    return min(LARGEST_BACKOFF, FIRST_BACKOFF * 2**attempt) * random.uniform(0.5, 1.0)
