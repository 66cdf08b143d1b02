"""Record format of prepared datasets: writer and parser.

A record is one clip, a serialised tf.train.Example in a TFRecord file:

| feature | content |
|---|---|
| `frames` | T encoded JPEGs, square |
| `landmarks` | T x 68 x 2 floats, (x, y) as fractions of the crop |
| `pupils` | T x 2 x 2 floats likewise, right eye first; NaN: not found; absent: not computed |
| `clip`, `video`, `identity` | names; the clip's is its path relative to the input |
| `fps` | frames per second of the source, 0 for a photo |
| `crop` | x, y, side of the crop in the source's pixels |
| `schema` | RECORD_SCHEMA |

TensorFlow is imported only where a TFRecord file is read or written: preparation runs one process
per core, and importing it takes 2 seconds and 300 MB in each. tf.train.Example is therefore
declared below. The index of the records is in `dataset.py`.
"""

import pathlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.cropping import CropBox

RECORD_SCHEMA = 2
READABLE = (1, 2)  # 1: without pupils
# Bytes before and after a record in a TFRecord file: length (8) and its checksum (4); the data's
# checksum (4).
HEADER, FOOTER = (12, 4)


@dataclass(frozen=True)
class Record:
    """The content of one clip's record."""

    frames: list[bytes]  # T encoded JPEGs
    landmarks: np.ndarray  # float32 [T, 68, 2], fractions of the crop
    clip: str
    video: str
    identity: str
    fps: float
    crop: CropBox
    pupils: np.ndarray | None = None  # float32 [T, 2, 2], NaN where unknown

    def images(self, positions: Iterable[int] | None = None) -> np.ndarray:
        """Decodes all frames or those at `positions`, uint8 RGB [N, size, size, 3].

        Raises:
          InputError: a frame cannot be decoded, or the frames are of several sizes.
        """
        positions = range(len(self.frames)) if positions is None else positions
        decoded = [decode_frame(self.frames[position]) for position in positions]
        if len({image.shape for image in decoded}) > 1:
            raise InputError("record: frames of several sizes: prepare the dataset anew")
        return np.stack(decoded)


def serialize(record: Record) -> bytes:
    """Serialises a record deterministically; ValueError for landmarks of a wrong shape."""
    landmarks = np.asarray(record.landmarks, np.float32)
    if landmarks.shape != (len(record.frames), 68, 2):
        raise ValueError(
            f"landmarks: expected [{len(record.frames)}, 68, 2], got {list(landmarks.shape)}"
        )
    example = _Example()
    feature = example.features.feature
    for name, text in {
        "clip": record.clip,
        "video": record.video,
        "identity": record.identity,
    }.items():
        feature[name].bytes_list.value.append(text.encode("utf-8", "surrogateescape"))
    feature["frames"].bytes_list.value.extend(record.frames)
    feature["landmarks"].float_list.value.extend(landmarks.ravel().tolist())
    if record.pupils is not None:
        pupils = np.asarray(record.pupils, np.float32)
        if pupils.shape != (len(record.frames), 2, 2):
            raise ValueError(
                f"pupils: expected [{len(record.frames)}, 2, 2], got {list(pupils.shape)}"
            )
        feature["pupils"].float_list.value.extend(pupils.ravel().tolist())
    feature["fps"].float_list.value.append(record.fps)
    feature["crop"].int64_list.value.extend(record.crop)
    feature["schema"].int64_list.value.append(RECORD_SCHEMA)
    return example.SerializeToString(deterministic=True)


def parse(serialized: bytes) -> Record:
    """Parses the output of `serialize`; InputError for an unknown schema or a damaged record."""
    try:
        return _parsed(_Example.FromString(serialized).features.feature)
    except (DecodeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"record: damaged ({error}): prepare the dataset anew") from error


def _parsed(feature):
    """The Record in an Example's features; IndexError, ValueError etc. where a part is missing."""
    schema = list(feature["schema"].int64_list.value)
    if schema not in ([known] for known in READABLE):
        raise InputError(
            f"record: expected schema {RECORD_SCHEMA}, got {schema}: prepare the dataset anew"
        )
    frames = list(feature["frames"].bytes_list.value)
    landmarks = np.asarray(feature["landmarks"].float_list.value, np.float32).reshape(-1, 68, 2)
    pupils = np.asarray(feature["pupils"].float_list.value, np.float32).reshape(-1, 2, 2)
    if not frames or len(landmarks) != len(frames) or len(pupils) not in (0, len(frames)):
        raise ValueError(f"{len(frames)} frames, {len(landmarks)} rows of landmarks")
    clip, video, identity = (
        feature[name].bytes_list.value[0].decode("utf-8", "surrogateescape")
        for name in ("clip", "video", "identity")
    )
    return Record(
        frames=frames,
        landmarks=landmarks,
        clip=clip,
        video=video,
        identity=identity,
        fps=feature["fps"].float_list.value[0],
        crop=CropBox(*feature["crop"].int64_list.value),
        pupils=pupils if len(pupils) else None,
    )


def _declare_example():
    """Builds tf.train.Example, as in tensorflow/core/example/*.proto, under this project's package.

    Returns:
      The message class, with the wire format of TensorFlow's own.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_talkinghead/example.proto", package="tf_talkinghead", syntax="proto3"
    )

    def declare(name, fields, parent=file.message_type):
        message = parent.add(name=name)
        for number, (field_name, kind, label) in enumerate(fields, 1):
            of_message = kind if isinstance(kind, str) else None
            type_number = field.TYPE_MESSAGE if of_message else kind
            message.field.add(
                name=field_name,
                number=number,
                type=type_number,
                label=label,
                type_name=of_message and f".tf_talkinghead.{kind}",
            )
        return message

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    declare("BytesList", [("value", field.TYPE_BYTES, many)])
    declare("FloatList", [("value", field.TYPE_FLOAT, many)])
    declare("Int64List", [("value", field.TYPE_INT64, many)])
    feature = declare(
        "Feature",
        [
            ("bytes_list", "BytesList", one),
            ("float_list", "FloatList", one),
            ("int64_list", "Int64List", one),
        ],
    )
    feature.oneof_decl.add(name="kind")
    for alternative in feature.field:
        alternative.oneof_index = 0
    features = declare("Features", [("feature", "Features.FeatureEntry", many)])
    entry = declare(
        "FeatureEntry",
        [("key", field.TYPE_STRING, one), ("value", "Feature", one)],
        features.nested_type,
    )
    entry.options.map_entry = True
    declare("Example", [("features", "Features", one)])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf_talkinghead.Example"))


_Example = _declare_example()


def encode_frame(image: np.ndarray, quality: int) -> bytes:
    """Encodes a uint8 RGB image [H, W, 3] as JPEG without chroma subsampling.

    Args:
      image: the image.
      quality: JPEG quality, 0 to 100.
    """
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def decode_frame(encoded: bytes) -> np.ndarray:
    """Decodes a JPEG to uint8 RGB [size, size, 3]; InputError for one that cannot be decoded."""
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    if picture is None:
        raise InputError("record: a frame is damaged: prepare the dataset anew")
    return picture[..., ::-1]


def checksum(data: bytes) -> bytes:
    """The 4 bytes that follow `data` in a TFRecord file: its masked CRC-32C."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_shard(path, serialized: Iterable[bytes]) -> list[tuple[int, int]]:
    """Writes serialised records to a TFRecord file.

    Args:
      path: the file.
      serialized: results of `serialize`.

    Returns:
      (offset, length) in bytes of each record in the file.
    """
    import tensorflow as tf

    places, offset = [], 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for item in serialized:
            writer.write(item)
            places.append((offset + HEADER, len(item)))
            offset += HEADER + len(item) + FOOTER
    return places


def read_records(paths) -> Iterator[Record]:
    """Iterates over the records of one or several TFRecord files, in order.

    Raises:
      InputError: a file is missing or damaged, or has an unknown schema.
    """
    import tensorflow as tf

    paths = [paths] if isinstance(paths, (str, pathlib.Path)) else list(paths)
    for path in paths:
        try:
            for item in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                yield parse(item)
        except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
            raise InputError(
                f"{path}: cannot be read as a TFRecord file ({error.message})"
            ) from error
