"""The messages of TensorFlow Serving's Predict call, with TensorFlow's tensors, without TensorFlow.

Field names and numbers are those of the public files tensorflow/core/framework/tensor.proto,
tensor_shape.proto and tensorflow_serving/apis/model.proto, predict.proto. Fields that the client
neither sends nor reads (complex numbers, resources, variants) are left out.
"""

from serving.private_protos import FIELD, INT64_VALUE, build

PREDICT = "/tensorflow.serving.PredictionService/Predict"

_PACKAGE = "tf_talkinghead.predict"
_MESSAGES = {
    "Dim": (("size", 1, FIELD.TYPE_INT64, False),),
    "TensorShapeProto": (
        ("dim", 2, f".{_PACKAGE}.Dim", True),
        ("unknown_rank", 3, FIELD.TYPE_BOOL, False),
    ),
    "TensorProto": (
        ("dtype", 1, FIELD.TYPE_INT32, False),  # the enum DataType
        ("tensor_shape", 2, f".{_PACKAGE}.TensorShapeProto", False),
        ("tensor_content", 4, FIELD.TYPE_BYTES, False),
        ("float_val", 5, FIELD.TYPE_FLOAT, True),
        ("double_val", 6, FIELD.TYPE_DOUBLE, True),
        ("int_val", 7, FIELD.TYPE_INT32, True),
        ("string_val", 8, FIELD.TYPE_BYTES, True),
        ("int64_val", 10, FIELD.TYPE_INT64, True),
        ("bool_val", 11, FIELD.TYPE_BOOL, True),
        ("half_val", 13, FIELD.TYPE_INT32, True),
        ("uint32_val", 16, FIELD.TYPE_UINT32, True),
        ("uint64_val", 17, FIELD.TYPE_UINT64, True),
    ),
    "ModelSpec": (
        ("name", 1, FIELD.TYPE_STRING, False),
        ("version", 2, INT64_VALUE, False),  # this or version_label, not both
        ("signature_name", 3, FIELD.TYPE_STRING, False),
        ("version_label", 4, FIELD.TYPE_STRING, False),
    ),
    "PredictRequest": (
        ("model_spec", 1, f".{_PACKAGE}.ModelSpec", False),
        ("inputs", 2, ("map", f".{_PACKAGE}.TensorProto"), False),
        ("output_filter", 3, FIELD.TYPE_STRING, True),
    ),
    "PredictResponse": (
        ("outputs", 1, ("map", f".{_PACKAGE}.TensorProto"), False),
        ("model_spec", 2, f".{_PACKAGE}.ModelSpec", False),
    ),
}

_CLASSES = build("tf_talkinghead/predict.proto", _PACKAGE, _MESSAGES)
TensorProto = _CLASSES["TensorProto"]
ModelSpec = _CLASSES["ModelSpec"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
