"""Export of an avatar as a SavedModel for TensorFlow Serving.

    signature         input                        output
    serving_default   landmarks float32 [B,68,2]   frames uint8 [B,H,W,3], ok bool [B]
    render_jpeg       landmarks                    jpeg_bytes string [B], ok
    describe          query int32 [B], ignored     card string [B], JSON

The graph draws the landmarks and encodes the JPEGs. Kernels are plain: spectral norms are divided
in, and P is gone, since the person's AdaIN vector (psi_hat, Sec. 3.3) is a constant. A row with
non-finite landmarks is rendered from the reference landmarks with ok false: an assertion would fail
the other requests of its batch. Beside the graph lie the card, TensorFlow Serving's warm-up
requests and its batching parameters.
"""

import os
import pathlib

import numpy as np
import tensorflow as tf

from tf_talkinghead import files, provenance
from tf_talkinghead.config import Config, ExportConfig, ModelConfig
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import card as cards
from tf_talkinghead.export import store
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.personalization.avatar import Avatar, folded_generator

DTYPES = ("float32", "float16", "bfloat16")

# Batches of a model that may wait for a thread. Where the file names none TensorFlow Serving lets
# 10 wait, whatever the server-wide file says, and refuses the rest as UNAVAILABLE: 89 of 200 calls
# made at once.
MAX_ENQUEUED_BATCHES = 100

# Landmarks further out than this many crops are drawn here, where float32 still resolves a pixel.
_FARTHEST = 8.0


class Renderer(tf.Module):
    """G with plain kernels, as variables of the storage type, with drawing and JPEG encoding."""

    def __init__(
        self,
        config: ModelConfig,
        weights: list[np.ndarray],
        reference: np.ndarray,
        dtype: str,
        bfloat16_compute: bool,
        quality: int,
    ):
        """Builds G and its variables.

        Args:
          config: the generator's architecture.
          weights: the folded generator's weights, in its order.
          reference: [68, 2], the landmarks that a non-finite row is rendered from.
          dtype: storage type of the variables, one of DTYPES.
          bfloat16_compute: run the convolutions in bfloat16.
          quality: JPEG quality, 1 to 100.
        """
        super().__init__(name="renderer")
        self._size = config.image_size
        self._quality = quality
        self._reference = np.asarray(reference, np.float32)
        # The Keras network has variables of its own, which serve as placeholders only: hidden from
        # tracking.
        self._network = _Untracked(
            folded_generator(config, weights, "mixed_bfloat16" if bfloat16_compute else "float32")
        )
        variables = self._network.it.trainable_variables
        if len(variables) != len(weights):
            raise ValueError(
                f"expected all {len(weights)} folded weights trainable, got {len(variables)}"
            )
        self.kernels = [
            tf.Variable(tf.cast(variable.value, dtype), trainable=False, name=f"weight_{i}")
            for i, variable in enumerate(variables)
        ]

        # The fixed input signature gives one trace for all signatures, so the file holds the graph
        # once.
        specs = [
            tf.TensorSpec([None, 68, 2], tf.float32),
            tf.TensorSpec([None, adain_size(config)], tf.float32),
        ]
        self.frames = tf.function(self._frames, input_signature=specs, autograph=False)

    def _frames(self, landmarks, psi_hat):
        """landmarks [B, 68, 2], psi_hat [B, A] -> frames uint8 [B, H, W, 3], ok bool [B]."""
        rows = tf.shape(landmarks)[0]
        # A convolution over zero rows fails: one row is rendered then and cut off below.
        padding = tf.cast(rows < 1, tf.int32)
        landmarks = tf.pad(landmarks, [[0, padding], [0, 0], [0, 0]])
        psi_hat = tf.pad(psi_hat, [[0, padding], [0, 0]])

        finite_landmarks = tf.reduce_all(tf.math.is_finite(landmarks), [1, 2])
        finite_psi_hat = tf.reduce_all(tf.math.is_finite(psi_hat), 1)
        landmarks = tf.where(finite_landmarks[:, None, None], landmarks, self._reference[None])
        psi_hat = tf.where(finite_psi_hat[:, None], psi_hat, tf.zeros_like(psi_hat))

        y = draw_landmarks(tf.clip_by_value(landmarks, -_FARTHEST, _FARTHEST), self._size)
        kernels = [tf.cast(kernel, tf.float32) for kernel in self.kernels]
        # x_hat: [B, H, W, 3] in [-1, 1]
        x_hat, _ = self._network.it.stateless_call(kernels, [], y, psi_hat)
        frames = tf.cast(tf.round(tf.clip_by_value((x_hat + 1.0) * 127.5, 0.0, 255.0)), tf.uint8)
        frames = tf.ensure_shape(frames[:rows], [None, self._size, self._size, 3])
        return frames, (finite_landmarks & finite_psi_hat)[:rows]

    def jpeg(self, frames):
        """frames uint8 [B, H, W, 3] -> string [B]: JPEGs with the AI-generated mark as XMP."""

        def encode(frame):
            return tf.io.encode_jpeg(
                frame, format="rgb", quality=self._quality, xmp_metadata=provenance.XMP
            )

        return tf.map_fn(encode, frames, fn_output_signature=tf.string)


class _Untracked:
    """Holds an object where tf.Module's tracking does not find it."""

    def __init__(self, it):
        self.it = it


class PersonModule(tf.Module):
    """One person's signatures; the AdaIN vector is stored with the weights."""

    def __init__(self, renderer: Renderer, psi_hat: np.ndarray, card: str):
        super().__init__(name="person")
        self.renderer = renderer
        self.psi_hat = tf.Variable(np.asarray(psi_hat, np.float32), trainable=False, name="psi_hat")
        landmarks = tf.TensorSpec([None, 68, 2], tf.float32, "landmarks")
        self.endpoints = {
            "serving_default": signature(self._serving_default, landmarks),
            "render_jpeg": signature(self._render_jpeg, landmarks),
            "describe": describe_signature(card),
        }

    def _serving_default(self, landmarks):
        frames, ok = self._frames(landmarks)
        return {"frames": frames, "ok": ok}

    def _render_jpeg(self, landmarks):
        frames, ok = self._frames(landmarks)
        return {"jpeg_bytes": self.renderer.jpeg(frames), "ok": ok}

    def _frames(self, landmarks):
        psi_hat = tf.repeat(self.psi_hat[None], tf.shape(landmarks)[0], axis=0)
        return self.renderer.frames(landmarks, psi_hat)


def signature(function, *specs: tf.TensorSpec):
    """`function` as a tf.function of fixed input shapes and names, ready to be a signature."""
    return tf.function(function, input_signature=list(specs), autograph=False)


def describe_signature(card: str):
    """The `describe` signature: `card` once for each row of `query`."""

    def describe(query):
        return {"card": tf.fill(tf.shape(query), card)}

    return signature(describe, tf.TensorSpec([None], tf.int32, "query"))


def export_person(
    avatar: Avatar,
    models_dir: str | os.PathLike,
    person: str,
    dtype: str = "float32",
    bfloat16_compute: bool = False,
    keep_versions: int | None = None,
) -> pathlib.Path:
    """Publishes `avatar` as the next version of `person`.

    Args:
      avatar: what personalisation left.
      models_dir: folder of all models.
      person: name of the model.
      dtype: storage type of the weights, one of DTYPES.
      bfloat16_compute: run the convolutions in bfloat16.
      keep_versions: remove all but the newest of this many versions afterwards; None keeps all.

    Returns:
      The version's folder.

    Raises:
      InputError: an unsafe name or an unknown dtype.
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
    text = cards.to_json({**card, **cards.precision(dtype, bfloat16_compute)})
    renderer = Renderer(
        config.model,
        avatar.weights,
        avatar.reference_landmarks,
        dtype,
        bfloat16_compute,
        config.export.jpeg_quality,
    )
    module = PersonModule(renderer, avatar.psi_hat, text)

    def write(folder, _version):
        example = {"landmarks": np.asarray(avatar.reference_landmarks, np.float32)}
        write_saved_model(module, folder, person, config, text, example)

    version = store.publish(models_dir, person, write)
    if keep_versions is not None:
        store.prune(models_dir, person, keep_versions)
    return version


def write_saved_model(
    module: tf.Module, folder: pathlib.Path, name: str, config: Config, card: str, example: dict
) -> None:
    """Writes the content of a version folder: graph, card, warm-up requests, batching parameters.

    Args:
      module: the module to save, with its signatures by name in `module.endpoints`.
      folder: where to write; it exists.
      name: the model's name, as the warm-up requests name it.
      config: whose export section holds the batching parameters.
      card: the card as JSON text.
      example: one row of each input of serving_default; the warm-up repeats it.
    """
    tf.saved_model.save(module, str(folder), signatures=dict(module.endpoints))
    (folder / cards.CARD_FILE).write_text(card)
    (folder / "batching_params.pbtxt").write_text(batching_params(config.export))
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    sizes = allowed_batch_sizes(config.export.max_batch_size)
    write_warmup(extra / "tf_serving_warmup_requests", name, example, sizes)


def check_dtype(dtype: str) -> None:
    """Raises InputError unless `dtype` is one of DTYPES."""
    if dtype not in DTYPES:
        raise InputError(f"--dtype={dtype}: expected one of {', '.join(DTYPES)}")


def allowed_batch_sizes(largest: int) -> list[int]:
    """Powers of two below `largest`, then `largest`: the sizes the server pads a batch to."""
    return [2**i for i in range(largest.bit_length()) if 2**i < largest] + [largest]


def batching_params(config: ExportConfig) -> str:
    """TensorFlow Serving's per-model batching file, as protobuf text."""
    lines = [
        f"max_batch_size {{ value: {config.max_batch_size} }}",
        f"batch_timeout_micros {{ value: {config.batch_timeout_micros} }}",
        f"max_enqueued_batches {{ value: {MAX_ENQUEUED_BATCHES} }}",
    ]
    lines += [f"allowed_batch_sizes: {size}" for size in allowed_batch_sizes(config.max_batch_size)]
    return "\n".join(lines) + "\n"


def write_warmup(path: pathlib.Path, name: str, example: dict, batch_sizes: list[int]) -> None:
    """Writes the warm-up, a TFRecord of PredictionLog.

    It runs serving_default at each of `batch_sizes` and render_jpeg once, for its encoder.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    requests = [("serving_default", size) for size in batch_sizes] + [("render_jpeg", 1)]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature_name, size in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature_name
            for key, row in example.items():
                rows = np.repeat(row[None], size, axis=0)
                request.inputs[key].CopyFrom(tf.make_tensor_proto(rows))
            writer.write(log.SerializeToString())
