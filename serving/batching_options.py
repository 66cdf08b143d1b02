"""Settings of a batch queue, from TensorFlow Serving's BatchingParameters."""

import dataclasses

from tf_talkinghead.errors import InputError

DEFAULT_POOL_NAME = "model_server_batch_threads"  # TensorFlow Serving's


@dataclasses.dataclass(frozen=True)
class BatchingOptions:
    """Settings of a batch queue; the defaults are TensorFlow Serving's."""

    max_batch_size: int = 1000  # rows of one batch, and of one request
    timeout_micros: int = 0
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple = ()


def options_from_proto(proto, where="batching parameters"):
    """Converts a BatchingParameters message to BatchingOptions.

    Args:
      proto: the message.
      where: its origin, for error messages.

    Returns:
      The BatchingOptions.

    Raises:
      InputError: values that TensorFlow Serving rejects too, or enable_large_batch_splitting, which
        this server does not support.
    """
    default = BatchingOptions()

    def value(field, otherwise):
        return getattr(proto, field).value if proto.HasField(field) else otherwise

    if value("enable_large_batch_splitting", False):
        raise InputError(
            f"{where}: enable_large_batch_splitting: the embedded server does not split "
            "requests; remove it here, or "
            "use TensorFlow Serving"
        )
    limit = value("max_batch_size", default.max_batch_size)
    allowed = tuple(proto.allowed_batch_sizes)
    if limit < 1 or value("max_enqueued_batches", 1) < 1 or value("batch_timeout_micros", 0) < 0:
        raise InputError(f"{where}: sizes must be at least 1 and the timeout at least 0")
    if allowed and (
        list(allowed) != sorted(set(allowed)) or allowed[0] < 1 or allowed[-1] != limit
    ):
        raise InputError(
            f"{where}: allowed_batch_sizes must increase and end with the maximum batch size "
            f"{limit}, "
            f"got {list(allowed)}"
        )
    return BatchingOptions(
        max_batch_size=limit,
        timeout_micros=value("batch_timeout_micros", default.timeout_micros),
        max_enqueued_batches=value("max_enqueued_batches", default.max_enqueued_batches),
        allowed_batch_sizes=allowed,
    )
