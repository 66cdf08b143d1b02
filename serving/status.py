"""The error a call ends with: TensorFlow Serving's status code and sentence.

Every refusal of the embedded server is one `StatusError`; `server.py`
turns it into the gRPC status.
"""

import grpc
import tensorflow as tf

Code = grpc.StatusCode
_CODES = {code.value[0]: code for code in Code}


# characters; the sentence travels as a header, of which gRPC takes 8 KB, and may quote the caller
MAX_MESSAGE = 1000


class StatusError(Exception):
    """`code` (grpc.StatusCode) and a sentence for the caller."""

    def __init__(self, code, message):
        message = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message):
    return StatusError(Code.INVALID_ARGUMENT, message)


def not_found(message):
    return StatusError(Code.NOT_FOUND, message)


def failed_precondition(message):
    return StatusError(Code.FAILED_PRECONDITION, message)


def unavailable(message):
    return StatusError(Code.UNAVAILABLE, message)


def deadline_exceeded(message):
    return StatusError(Code.DEADLINE_EXCEEDED, message)


def from_tensorflow(error: tf.errors.OpError):
    """The same code a C++ server would answer with: TensorFlow's numbers are gRPC's."""
    first_line = (error.message or "").partition("\n")[0]  # the rest is the graph's own trace
    return StatusError(_CODES.get(error.error_code, Code.UNKNOWN), first_line)
