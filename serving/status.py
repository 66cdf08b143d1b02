"""Status errors of the embedded server, with TensorFlow Serving's codes and messages.

Every refused call raises a `StatusError`; `services.py` converts it to the gRPC status.
"""

import grpc
import tensorflow as tf

Code = grpc.StatusCode
_CODES = {code.value[0]: code for code in Code}


# Characters. The message is sent as a header, which gRPC limits to 8 KB, and may quote the request.
MAX_MESSAGE = 1000


class StatusError(Exception):
    """An error with a `code` (grpc.StatusCode) and a message for the caller."""

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
    """The StatusError of a TensorFlow error; TensorFlow's codes are gRPC's."""
    first_line = (error.message or "").partition("\n")[0]  # the rest is the graph's own trace
    return StatusError(_CODES.get(error.error_code, Code.UNKNOWN), first_line)
