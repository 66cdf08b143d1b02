"""State of one model version: START, LOADING, AVAILABLE, UNLOADING or END; and its loading."""

import dataclasses
import time

import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2

from serving import batching_options, requests
from serving.servables import Servable, rows_of
from serving.status import Code, StatusError, from_tensorflow, invalid_argument
from tf_talkinghead.errors import TalkingHeadError
from tf_talkinghead.export import store

State = get_model_status_pb2.ModelVersionStatus


@dataclasses.dataclass(eq=False)
class Loaded:
    """One version of a model, loaded or not."""

    name: str
    version: int
    path: str
    state: int = State.START
    error: StatusError | None = None
    servable: Servable | None = None
    # Batching options: the version's own, if it has any.
    options: batching_options.BatchingOptions | None = None
    users: int = 0  # calls in progress
    attempts: int = 0  # number of attempts to load it
    retry_at: float = 0.0  # earliest time of the next attempt, time.monotonic() seconds


def load(loaded, metrics):
    """Loads a version and runs its warm-up requests.

    Returns:
      (Servable, the version's own BatchingOptions or None).

    Raises:
      StatusError: loading or warm-up failed.
    """
    start = time.monotonic()
    servable = None
    try:
        store.check_digests(loaded.path)
        servable = Servable(loaded.name, loaded.version, loaded.path)
        parameters = servable.batching_parameters()
        own = None
        if parameters is not None:
            own = batching_options.options_from_proto(parameters, loaded.path)
        metrics.load_latency.add(loaded.path, amount=int(1e6 * (time.monotonic() - start)))
        _warm_up(servable, own, metrics)
    except Exception as error:
        # A broken folder must not stop the server: the error becomes the version's status.
        if servable is not None:
            servable.close()
        metrics.load_attempts.add(loaded.path, "fail")
        raise _as_status(error) from error
    metrics.load_attempts.add(loaded.path, "success")
    return servable, own


def _warm_up(servable, own, metrics):
    start = time.monotonic()
    largest = own.max_batch_size if own else requests.MAX_ROWS
    for request in servable.warmup_requests():
        call = requests.parse(servable, request)
        if rows_of(call.inputs) > largest:
            raise invalid_argument(f"a warm-up request has more than {largest} rows")
        servable.run(call.signature_name, call.inputs, call.outputs)
    metrics.warmup_latency.observe(1e6 * (time.monotonic() - start), servable.path, "success")


def _as_status(error):
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        return from_tensorflow(error)
    if isinstance(error, TalkingHeadError):
        return invalid_argument(str(error))
    return StatusError(Code.UNKNOWN, f"{type(error).__name__}: {error}")
