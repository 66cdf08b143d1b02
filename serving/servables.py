"""Loaded model version: its signatures and a thread-safe `run`.

A SavedModel is loaded into a TensorFlow session, as in TensorFlow Serving: outputs that are not
requested are not computed, and closing the session frees its memory. (Functions of
`tf.saved_model.load` are never freed from the eager context, so a server's memory would grow with
every version.)
"""

import contextlib
import ctypes
import dataclasses
import gc
import pathlib
import threading

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import config_protos
from serving.status import from_tensorflow

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
BATCHING_FILE = "batching_params.pbtxt"
MAX_WARMUP_RECORDS = 1000  # TensorFlow Serving's limit


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """Required `dtype` and `shape` of an input (None for a free size; None if all is unknown)."""

    tensor: str
    dtype: tf.DType
    shape: tuple | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """A named entry point: input alias -> InputSpec, output alias -> tensor name."""

    inputs: dict
    outputs: dict


class Servable:
    """Version `version` of model `name`, loaded from the SavedModel folder `path`.

    TensorFlow's own exception is raised if the folder is not a SavedModel.
    """

    def __init__(self, name, version, path):
        self.name, self.version, self.path = name, version, str(path)
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                self.meta_graph = tf.compat.v1.saved_model.loader.load(
                    self._session, ["serve"], self.path
                )
        except BaseException:
            self._session.close()
            raise
        self.signatures = {
            key: _signature(value)
            for key, value in self.meta_graph.signature_def.items()
            if value.method_name == PREDICT_METHOD
        }
        self._callables = {}
        self._lock = threading.Lock()

    def run(self, signature_name, inputs, outputs):
        """Runs a signature.

        Args:
          signature_name: name of the signature.
          inputs: alias -> array.
          outputs: aliases of the outputs to compute.

        Returns:
          {output alias: array}.

        Raises:
          StatusError: an operation failed; the code is TensorFlow's.
        """
        call = self._callable(signature_name, outputs)
        feeds = [inputs[alias] for alias in self.signatures[signature_name].inputs]
        try:
            return dict(zip(outputs, call(*feeds)))
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error

    def _callable(self, signature_name, outputs):
        key = (signature_name, outputs)
        with self._lock:
            if key not in self._callables:
                signature = self.signatures[signature_name]
                self._callables[key] = self._session.make_callable(
                    [signature.outputs[alias] for alias in outputs],
                    [spec.tensor for spec in signature.inputs.values()],
                )
            return self._callables[key]

    def warmup_requests(self):
        """The PredictRequests of the version's warm-up file in order; empty if there is none."""
        file = pathlib.Path(self.path) / WARMUP_FILE
        if not file.is_file():
            return
        records = tf.data.TFRecordDataset(str(file)).take(MAX_WARMUP_RECORDS)
        for record in records.as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.HasField("predict_log"):
                yield log.predict_log.request

    def batching_parameters(self):
        """The version's own BatchingParameters, or None if it has none."""
        file = pathlib.Path(self.path) / BATCHING_FILE
        if not file.is_file():
            return None
        return config_protos.parse_file(file, config_protos.BatchingParameters)

    def close(self):
        """Frees the memory; no `run` may be in progress."""
        with self._lock:
            self._callables.clear()
        self._session.close()
        self._session = self.meta_graph = None
        _return_memory()


def _return_memory():
    """Returns freed memory to the system.

    Graphs contain reference cycles, and the C library keeps freed memory.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _signature(definition):
    inputs = {}
    for alias, info in sorted(definition.inputs.items()):
        shape = None
        if not info.tensor_shape.unknown_rank:
            shape = tuple(dim.size if dim.size >= 0 else None for dim in info.tensor_shape.dim)
        inputs[alias] = InputSpec(info.name, tf.as_dtype(info.dtype), shape)
    return Signature(
        inputs, {alias: info.name for alias, info in sorted(definition.outputs.items())}
    )


def rows_of(inputs):
    """The batch size of `inputs` (alias -> array), all of one length."""
    return len(next(iter(inputs.values())))
