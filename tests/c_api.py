"""Loads and runs a SavedModel through TensorFlow's C API, as a C++ server does: without Python.

The functions come from libtensorflow_cc of the installed wheel. Supported is what the tests need:
float32 or int32 inputs, numeric outputs.
"""

import ctypes
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

_DTYPES = {
    np.dtype(np.float32): 1,
    np.dtype(np.int32): 3,
    np.dtype(np.uint8): 4,
    np.dtype(np.bool_): 10,
}
_NUMPY = {number: dtype for dtype, number in _DTYPES.items()}


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def _library():
    folder = pathlib.Path(tf.__file__).parent
    library = ctypes.CDLL(str(next(folder.glob("libtensorflow_cc.so*"))))
    # TF_Tensor functions live in the framework library; the C++ one depends on it.
    framework = ctypes.CDLL(str(next(folder.glob("libtensorflow_framework.so*"))))
    for name in ("TF_AllocateTensor", "TF_TensorData", "TF_NewStatus", "TF_Message"):
        function = getattr(framework, name)
        function.restype = ctypes.c_char_p if name == "TF_Message" else ctypes.c_void_p
        setattr(library, name, function)
    for name in ("TF_TensorType", "TF_NumDims", "TF_GetCode", "TF_Dim", "TF_TensorByteSize"):
        function = getattr(framework, name)
        function.restype = ctypes.c_int64
        setattr(library, name, function)
    for name in (
        "TF_NewGraph",
        "TF_NewSessionOptions",
        "TF_LoadSessionFromSavedModel",
        "TF_GraphOperationByName",
    ):
        getattr(library, name).restype = ctypes.c_void_p
    return library


class Session:
    """A SavedModel folder loaded by TF_LoadSessionFromSavedModel with the tag "serve"."""

    def __init__(self, folder):
        self._c = _library()
        self._status = ctypes.c_void_p(self._c.TF_NewStatus())
        self._graph = ctypes.c_void_p(self._c.TF_NewGraph())
        options = ctypes.c_void_p(self._c.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = ctypes.c_void_p(
            self._c.TF_LoadSessionFromSavedModel(
                options, None, str(folder).encode(), tags, 1, self._graph, None, self._status
            )
        )
        self._check()
        content = (pathlib.Path(folder) / "saved_model.pb").read_bytes()
        self._signatures = (
            saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
        )

    def run(self, signature, **inputs):
        """Feeds `inputs` by name to `signature`; returns {output name: array}."""
        definition = self._signatures[signature]
        fed = [self._output(definition.inputs[name].name) for name in inputs]
        names = sorted(definition.outputs)
        fetched = [self._output(definition.outputs[name].name) for name in names]
        tensors = [self._tensor(array) for array in inputs.values()]
        results = (ctypes.c_void_p * len(names))()
        self._c.TF_SessionRun(
            self._session, None,
            (_Output * len(fed))(*fed), (ctypes.c_void_p * len(fed))(*tensors), len(fed),
            (_Output * len(names))(*fetched), results, len(names),
            None, 0, None, self._status,
        )  # fmt: skip
        self._check()
        return {name: self._array(ctypes.c_void_p(result)) for name, result in zip(names, results)}

    def _output(self, name):
        operation, index = name.split(":")
        found = self._c.TF_GraphOperationByName(self._graph, operation.encode())
        assert found, f"no operation {operation}"
        return _Output(found, int(index))

    def _tensor(self, array):
        array = np.ascontiguousarray(array)
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = self._c.TF_AllocateTensor(
            _DTYPES[array.dtype], shape, array.ndim, ctypes.c_size_t(array.nbytes)
        )
        ctypes.memmove(
            self._c.TF_TensorData(ctypes.c_void_p(tensor)), array.ctypes.data, array.nbytes
        )
        return tensor

    def _array(self, tensor):
        shape = [self._c.TF_Dim(tensor, axis) for axis in range(self._c.TF_NumDims(tensor))]
        array = np.empty(shape, _NUMPY[self._c.TF_TensorType(tensor)])
        assert self._c.TF_TensorByteSize(tensor) == array.nbytes
        ctypes.memmove(array.ctypes.data, self._c.TF_TensorData(tensor), array.nbytes)
        return array

    def _check(self):
        if self._c.TF_GetCode(self._status):
            raise RuntimeError(self._c.TF_Message(self._status).decode())
