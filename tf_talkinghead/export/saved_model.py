"""Export of an avatar as a SavedModel for TensorFlow Serving.

    signature         input                        output
    serving_default   landmarks float32 [B,68,2]   frames uint8 [B,H,W,3], ok bool [B]
    render_jpeg       landmarks                    jpeg_bytes string [B], ok
    describe          query int32 [B], ignored     card string [B], JSON

The graph draws the landmarks, marks the frames and encodes the JPEGs. Kernels are plain: spectral
norms are divided in, and P is gone, since the person's AdaIN vector (psi_hat, Sec. 3.3) is a
constant. A row with non-finite landmarks is rendered from the reference landmarks with ok false: an
assertion would fail the other requests of its batch. Beside the graph lie the card, TensorFlow
Serving's warm-up requests and its batching parameters.
"""

import os
import pathlib

import numpy as np
import tensorflow as tf

from tf_talkinghead import files
from tf_talkinghead.config import Config, ExportConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import card as cards
from tf_talkinghead.export import store
from tf_talkinghead.export.guided_signatures import GuidedModule, GuidedRenderer
from tf_talkinghead.export.marking import marking
from tf_talkinghead.export.signatures import PersonModule, Renderer
from tf_talkinghead.personalization.avatar import Avatar

DTYPES = ("float32", "float16", "bfloat16")

# Batches of a model that may wait for a thread. Without this line in the model's file TensorFlow
# Serving lets 10 wait, whatever the server-wide file says, and refuses the rest as UNAVAILABLE: 89
# of 200 calls made at once.
MAX_ENQUEUED_BATCHES = 100


def export_person(
    avatar: Avatar,
    models_dir: str | os.PathLike,
    person: str,
    dtype: str = "float32",
    bfloat16_compute: bool = False,
    keep_versions: int | None = None,
    watermark_key: bytes | None = None,
) -> pathlib.Path:
    """Publishes `avatar` as the next version of `person`.

    Args:
      avatar: the result of personalisation.
      models_dir: folder of all models.
      person: name of the model.
      dtype: storage type of the weights, one of DTYPES.
      bfloat16_compute: run the convolutions in bfloat16.
      keep_versions: remove all but the newest of this many versions afterwards; None keeps all.
      watermark_key: key of the frames' watermark; None is the public one.

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
        avatar.reference_pupils,
    )
    if avatar.photos is not None:
        card |= cards.photographs(avatar.photos)
    watermark = marking(config, card, watermark_key)
    card |= {**cards.precision(dtype, bfloat16_compute), "watermark": watermark.card}
    text = cards.to_json(card)
    served = (
        config.model,
        avatar.weights,
        avatar.reference_landmarks,
        dtype,
        bfloat16_compute,
        config.export.jpeg_quality,
    )
    if avatar.photos is None:
        renderer = Renderer(*served, watermark=watermark.embedder)
        module = PersonModule(renderer, avatar.psi_hat, text)
    else:
        renderer = GuidedRenderer(
            *served,
            watermark=watermark.embedder,
            photos=avatar.photos,
            size=config.export.size,
        )
        module = GuidedModule(renderer, avatar.psi_hat, text)

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
      config: its export section holds the batching parameters.
      card: the card as JSON text.
      example: one row of each input of serving_default; the warm-up repeats it.

    Raises:
      InputError: TensorFlow cannot write there, as on a full disk.
    """
    try:
        tf.saved_model.save(module, str(folder), signatures=dict(module.endpoints))
        _write_beside(folder, name, config, card, example)
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise InputError(
            f"{folder.parent / name}: cannot write a version ({reason}); nothing is published: "
            "make room or allow writing there, and start again"
        ) from error


def _write_beside(folder, name, config, card, example):
    """Writes everything but the graph and its variables."""
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
