"""An avatar as a SavedModel that TensorFlow Serving hosts as it is.

    signature         input                        output
    serving_default   landmarks float32 [B,68,2]   frames uint8 [B,H,W,3], ok bool [B]
    render_jpeg       landmarks                    jpeg_bytes string [B], ok
    describe          query int32 [B], ignored     card string [B], JSON

Landmarks are drawn, and JPEGs encoded, inside the graph. Kernels are plain: spectral norms are divided in and P is
gone, since the person's AdaIN numbers (Sec. 3.3's psi') are constants. A row whose landmarks are not finite is rendered
from the reference landmarks with ok false, because an assertion would fail its batch mates. Beside the graph lie the
card, TensorFlow Serving's warm-up requests and its batching parameters.
"""

import os
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tf_talkinghead import files
from tf_talkinghead.config import Config, ExportConfig, ModelConfig
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import card as cards
from tf_talkinghead.export import store
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.personalization.avatar import Avatar, folded_generator

DTYPES = ("float32", "float16", "bfloat16")
_FAR = 8.0  # crops; landmarks beyond are drawn at this distance, where float32 still measures pixels well


class Renderer(tf.Module):
    """G with plain kernels as TensorFlow variables of the storage type, and the ops around it."""

    def __init__(
        self,
        config: ModelConfig,
        weights: list[np.ndarray],
        reference: np.ndarray,
        dtype: str,
        bfloat16_compute: bool,
        quality: int,
    ):
        """weights: the folded generator's, in its order. reference [68, 2] stands in for a bad row."""
        super().__init__(name="renderer")
        self._size = config.image_size
        self._quality = quality
        self._reference = np.asarray(reference, np.float32)
        # Keras holds variables of its own; they serve as placeholders only, so it is hidden from tracking.
        self._network = _Untracked(
            folded_generator(config, weights, "mixed_bfloat16" if bfloat16_compute else "float32")
        )
        trainable = {id(v) for v in self._network.it.trainable_variables}
        if len(trainable) != len(weights):
            raise ValueError(
                f"expected all {len(weights)} folded weights trainable, got {len(trainable)}"
            )
        self.kernels = [
            tf.Variable(tf.cast(v.value, dtype), trainable=False, name=f"weight_{i}")
            for i, v in enumerate(self._network.it.trainable_variables)
        ]

        # One trace for all signatures: the input signature is fixed, so the graph lies in the file once.
        specs = [
            tf.TensorSpec([None, 68, 2], tf.float32),
            tf.TensorSpec([None, adain_size(config)], tf.float32),
        ]
        self.frames = tf.function(self._frames, input_signature=specs, autograph=False)

    def _frames(self, landmarks, psi_hat):
        """landmarks [B, 68, 2], psi_hat float32 [B, A] -> frames uint8 [B, H, W, 3], ok bool [B]."""
        rows = tf.shape(landmarks)[0]
        spare = tf.cast(
            rows < 1, tf.int32
        )  # a convolution over no rows at all fails: one is drawn then, and cut off
        landmarks, psi_hat = (
            tf.pad(landmarks, [[0, spare], [0, 0], [0, 0]]),
            tf.pad(psi_hat, [[0, spare], [0, 0]]),
        )
        drawable, known = (
            tf.reduce_all(tf.math.is_finite(landmarks), [1, 2]),
            tf.reduce_all(tf.math.is_finite(psi_hat), 1),
        )
        landmarks = tf.where(drawable[:, None, None], landmarks, self._reference[None])
        psi_hat = tf.where(known[:, None], psi_hat, tf.zeros_like(psi_hat))
        y = draw_landmarks(tf.clip_by_value(landmarks, -_FAR, _FAR), self._size)
        kernels = [tf.cast(kernel, tf.float32) for kernel in self.kernels]
        x_hat, _ = self._network.it.stateless_call(
            kernels, [], y, psi_hat
        )  # [B, H, W, 3] in [-1, 1]
        frames = tf.cast(tf.round(tf.clip_by_value((x_hat + 1.0) * 127.5, 0.0, 255.0)), tf.uint8)
        return tf.ensure_shape(frames[:rows], [None, self._size, self._size, 3]), (
            drawable & known
        )[:rows]

    def jpeg(self, frames):
        """frames uint8 [B, H, W, 3] -> string [B]: JPEG files that carry the AI-generated mark in a comment."""
        comment = cards.jpeg_comment()

        def encode(frame):
            picture = tf.io.encode_jpeg(frame, format="rgb", quality=self._quality)
            head = tf.strings.substr(
                picture, 0, 20
            )  # start of image (2 bytes) and the JFIF segment (18)
            return tf.strings.join([head, comment, tf.strings.substr(picture, 20, 2**30)])

        return tf.map_fn(encode, frames, fn_output_signature=tf.string)


class _Untracked:
    """Holds an object where tf.Module's tracking does not look."""

    def __init__(self, it):
        self.it = it


class PersonModule(tf.Module):
    """One person's signatures: the AdaIN numbers are stored with the weights and change as little as they."""

    def __init__(self, renderer: Renderer, psi_hat: np.ndarray, card: str):
        super().__init__(name="person")
        self.renderer = renderer
        self.psi_hat = tf.Variable(np.asarray(psi_hat, np.float32), trainable=False, name="psi_hat")
        self._card = card

    def _frames(self, landmarks):
        psi_hat = tf.repeat(self.psi_hat[None], tf.shape(landmarks)[0], axis=0)
        return self.renderer.frames(landmarks, psi_hat)

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec([None, 68, 2], tf.float32, "landmarks")]
    )
    def serving_default(self, landmarks):
        frames, ok = self._frames(landmarks)
        return {"frames": frames, "ok": ok}

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec([None, 68, 2], tf.float32, "landmarks")]
    )
    def render_jpeg(self, landmarks):
        frames, ok = self._frames(landmarks)
        return {"jpeg_bytes": self.renderer.jpeg(frames), "ok": ok}

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int32, "query")])
    def describe(self, query):
        return {"card": tf.fill(tf.shape(query), self._card)}


def export_person(
    avatar: Avatar,
    models_dir: str | os.PathLike,
    person: str,
    dtype: str = "float32",
    bfloat16_compute: bool = False,
    keep_versions: int | None = None,
) -> pathlib.Path:
    """Publish `avatar` as the next version of `person` in `models_dir`; returns the version's folder.

    dtype: what the weights lie on the disk in; bfloat16_compute: convolutions in bfloat16.
    keep_versions: prune older ones afterwards. InputError for an unsafe name or an unknown dtype.
    """
    store.check_name(person)
    check_dtype(dtype)
    config = avatar.config
    card = cards.make_card(
        person,
        config,
        avatar.mode,
        avatar.reference_landmarks,
        avatar.facts.to_dict(),
        files.arrays_sha256([*avatar.weights, avatar.psi_hat]),
    )
    card["stored_dtype"] = dtype
    card["compute_dtype"] = "bfloat16" if bfloat16_compute else "float32"
    text = cards.to_json(card)
    renderer = Renderer(
        config.model,
        avatar.weights,
        avatar.reference_landmarks,
        dtype,
        bfloat16_compute,
        config.export.jpeg_quality,
    )
    module = PersonModule(renderer, avatar.psi_hat, text)

    def write(folder):
        example = {"landmarks": np.asarray(avatar.reference_landmarks, np.float32)}
        write_saved_model(module, folder, person, config, text, example)

    version = store.publish(models_dir, person, write)
    if keep_versions is not None:
        store.prune(models_dir, person, keep_versions)
    return version


def write_saved_model(
    module: tf.Module, folder: pathlib.Path, name: str, config: Config, card: str, example: dict
) -> None:
    """The whole content of a version folder: graph, card, warm-up requests, batching parameters.

    example: one row of each input of serving_default, which the warm-up repeats.
    """
    signatures = {
        key: getattr(module, key) for key in ("serving_default", "render_jpeg", "describe")
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    _compact(folder / "saved_model.pb")
    (folder / cards.CARD_FILE).write_text(card)
    (folder / "batching_params.pbtxt").write_text(batching_params(config.export))
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    write_warmup(
        extra / "tf_serving_warmup_requests",
        name,
        example,
        allowed_batch_sizes(config.export.max_batch_size),
    )


def _compact(path):
    """Short names for the ops inside functions, and no hints: half of the graph's size, and nothing reads them.

    For `demo` in float16 the graph would otherwise be a tenth of what the weights take.
    """
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        short = {node.name: f"n{i}" for i, node in enumerate(function.node_def)}
        for node in function.node_def:
            node.name = short[node.name]
            for hint in (
                "_output_shapes",
                "_class",
            ):  # shapes, and wishes to share a device with an op by its name
                node.attr.pop(hint, None)
            node.ClearField("experimental_debug_info")
            node.input[:] = [_renamed(value, short) for value in node.input]
        for table in (function.ret, function.control_ret):
            for key, value in list(table.items()):
                table[key] = _renamed(value, short)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _renamed(reference, short):
    """An input of a function's op, "op:output:0", "op" or "^op", or an argument, which keeps its name."""
    mark = "^" if reference.startswith("^") else ""
    name, colon, rest = reference.removeprefix(mark).partition(":")
    return f"{mark}{short.get(name, name)}{colon}{rest}"


def check_dtype(dtype: str) -> None:
    """InputError unless `dtype` is one of DTYPES."""
    if dtype not in DTYPES:
        raise InputError(f"--dtype={dtype}: expected one of {', '.join(DTYPES)}")


def allowed_batch_sizes(largest: int) -> list[int]:
    """Powers of two below `largest`, and `largest`: the server pads a batch to the next of these."""
    return [2**i for i in range(largest.bit_length()) if 2**i < largest] + [largest]


def batching_params(config: ExportConfig) -> str:
    """TensorFlow Serving's per-model batching file, in protobuf text."""
    lines = [f"max_batch_size {{ value: {config.max_batch_size} }}"]
    lines.append(f"batch_timeout_micros {{ value: {config.batch_timeout_micros} }}")
    lines += [f"allowed_batch_sizes: {size}" for size in allowed_batch_sizes(config.max_batch_size)]
    return "\n".join(lines) + "\n"


def write_warmup(path: pathlib.Path, name: str, example: dict, batch_sizes: list[int]) -> None:
    """A TFRecord of PredictionLog: serving_default at each batch size, then render_jpeg once for its encoder."""
    from tensorflow_serving.apis import prediction_log_pb2

    requests = [("serving_default", size) for size in batch_sizes] + [("render_jpeg", 1)]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, size in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, row in example.items():
                request.inputs[key].CopyFrom(
                    tf.make_tensor_proto(np.repeat(row[None], size, axis=0))
                )
            writer.write(log.SerializeToString())
