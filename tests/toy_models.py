"""Small SavedModels with the signatures of an exported person, for tests of serving.

A frame encodes its origin: channel 0 is the version, channel 1 the first landmark's x times 255,
channel 2 its y (in the bank form the first number of the person's vector) times 255. So a test can
tell which version, row and person a frame is of.
"""

import atexit
import functools
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tf_talkinghead.export.bank_files import VECTORS_FILE, Members, write_members

SIZE = 8
VECTOR = 4  # A of the toy bank


class ToyAvatar(tf.Module):
    """Renders flat `SIZE` x `SIZE` pictures; `weights` floats give the model a size in memory."""

    def __init__(self, name, version, bank=False, weights=1):
        super().__init__()
        self.version = tf.Variable(float(version), trainable=False)
        self.weights = tf.Variable(tf.zeros([weights]), trainable=False)
        card = {
            "person": name,
            "version": version,
            "resolution": SIZE,
            "reference_landmarks": [[0.4, 0.6]] * 68,
            "trained_weights_sha256": generator(version),
        }
        self.card = json.dumps(card)
        self.bank = bank

    def signatures(self):
        landmarks = tf.TensorSpec([None, 68, 2], tf.float32, "landmarks")
        query = tf.TensorSpec([None], tf.int32, "query")
        specs = {"landmarks": landmarks}
        if self.bank:
            specs["person"] = tf.TensorSpec([None, VECTOR], tf.float16, "person")
        return {
            "serving_default": tf.function(self.render).get_concrete_function(**specs),
            "render_jpeg": tf.function(self.render_jpeg).get_concrete_function(**specs),
            "describe": tf.function(self.describe).get_concrete_function(query=query),
        }

    def render(self, landmarks, person=None):
        # TensorFlow Serving does not check shapes against the signature, so the graph must.
        landmarks = tf.ensure_shape(landmarks, [None, 68, 2])
        ok = tf.reduce_all(tf.math.is_finite(landmarks), axis=[1, 2])
        first = tf.where(
            ok[:, None], landmarks[:, 0, :], tf.fill(tf.shape(landmarks[:, 0, :]), 0.5)
        )
        third = first[:, 1] if person is None else tf.cast(person[:, 0], tf.float32)
        mark = tf.fill(tf.shape(third), self.version + 0.0 * self.weights[0])
        pixel = tf.stack([mark, 255.0 * first[:, 0], 255.0 * third], axis=-1)
        pixel = tf.cast(tf.clip_by_value(tf.round(pixel), 0.0, 255.0), tf.uint8)
        return {"frames": tf.tile(pixel[:, None, None, :], [1, SIZE, SIZE, 1]), "ok": ok}

    def render_jpeg(self, landmarks, person=None):
        made = self.render(landmarks, person)
        encode = lambda frame: tf.io.encode_jpeg(frame, quality=100, chroma_downsampling=False)
        jpegs = tf.map_fn(encode, made["frames"], fn_output_signature=tf.string)
        return {"jpeg_bytes": jpegs, "ok": made["ok"]}

    def describe(self, query):
        return {"card": tf.fill(tf.shape(query), self.card)}


def warmup_log(name, rows, bank=False):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["landmarks"].CopyFrom(
        tf.make_tensor_proto(np.full([rows, 68, 2], 0.5, np.float32))
    )
    if bank:
        request.inputs["person"].CopyFrom(
            tf.make_tensor_proto(np.zeros([rows, VECTOR], np.float16))
        )
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )


def generator(version):
    """The SHA-256 of the weights file that the toy bank's `version` names."""
    return f"{version:064x}"


def publish(models, name, version, bank=False, max_batch_size=8, weights=1, members=None):
    """Writes `<models>/<name>/<version>/` in one rename, with warm-up and batching file.

    members: {name: first number of the person's vector} of a bank.
    """
    folder = pathlib.Path(models) / name
    folder.mkdir(parents=True, exist_ok=True)
    hidden = folder / f".{version}"
    shutil.copytree(_built(name, version, bank, max_batch_size, weights), hidden)
    if bank:
        vectors = {who: np.float16([x, 0, 0, 0]) for who, x in (members or {}).items()}
        cards = {who: {"person": who, "bank_version": version} for who in vectors}
        write_members(hidden / VECTORS_FILE, Members(version, generator(version), vectors, cards))
    final = folder / str(version)
    os.rename(hidden, final)
    return final


@functools.cache
def _built(name, version, bank, max_batch_size, weights):
    """A version outside any models folder, built once per process: saving takes half a second."""
    built = pathlib.Path(tempfile.mkdtemp(prefix="toy-")) / str(version)
    atexit.register(shutil.rmtree, built.parent, ignore_errors=True)
    toy = ToyAvatar(name, version, bank, weights)
    tf.saved_model.save(toy, str(built), signatures=toy.signatures())
    sizes = sorted({1, 2, 4, max_batch_size})
    (built / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(built / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for size in sizes:
            writer.write(warmup_log(name, size, bank).SerializeToString())
    (built / "batching_params.pbtxt").write_text(
        f"max_batch_size {{ value: {max_batch_size} }}\nbatch_timeout_micros {{ value: 2000 }}\n"
        + "".join(f"allowed_batch_sizes: {size}\n" for size in sizes)
    )
    return built


def landmarks(x, y=0.5, rows=1):
    """float32 [rows, 68, 2], all points at (x, y)."""
    return np.broadcast_to(np.float32([x, y]), [rows, 68, 2]).copy()


def level(value):
    """The channel value, 0 to 255, of a landmark coordinate `value`, 0 to 1."""
    return int(np.round(np.float32(255.0) * np.float32(value)))
