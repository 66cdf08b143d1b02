"""Error class and retry backoff of the client."""

import random

import grpc

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


def explanation(error: grpc.RpcError, model_spec, timeout: float) -> str:
    """Code and details of a gRPC error, with a hint on what to do.

    Args:
      error: as a call raised it.
      model_spec: of the request, with the model's and the signature's names.
      timeout: seconds that the call was given.
    """
    hints = {
        grpc.StatusCode.UNAVAILABLE: "is the server running, and the address right?",
        grpc.StatusCode.NOT_FOUND: (
            f"{model_spec.name!r} is not served there; was it published to the server's models?"
        ),
        grpc.StatusCode.DEADLINE_EXCEEDED: (
            f"no answer within {timeout:g} s; a longer timeout may help"
        ),
        grpc.StatusCode.FAILED_PRECONDITION: (
            f"no signature {model_spec.signature_name!r}; was the model exported by this project?"
        ),
        grpc.StatusCode.RESOURCE_EXHAUSTED: "the server is overloaded, or the request too large",
    }
    code = error.code()
    hint = f" ({hints[code]})" if code in hints else ""
    return f"{code.name}: {error.details()}{hint}"
