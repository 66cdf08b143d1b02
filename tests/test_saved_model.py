"""What is exported renders what was trained, by every way a client or server loads it."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from serving import config_protos
from serving.batching_options import options_from_proto
from tests.c_api import Session
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tests.saved_model_cli import frames_by_cli
from tests.xmp import xmp_mark
from tf_talkinghead import provenance
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import saved_model
from tf_talkinghead.personalization.avatar import load_avatar, render, save_avatar


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    avatar, generator = random_avatar("tiny")
    models = tmp_path_factory.mktemp("models")
    return avatar, generator, saved_model.export_person(avatar, models, "ann")


def _landmarks(count, seed=0):
    return (COLLINS + np.random.default_rng(seed).normal(0, 0.03, (count, 68, 2))).astype(
        np.float32
    )


def _trained_frames(avatar, generator, landmarks):
    """uint8 frames of the training graph: spectral kernels, numpy rounding."""
    y = draw_landmarks(tf.constant(landmarks), avatar.config.model.image_size)
    x_hat = generator(y, psi_hat=tf.repeat(avatar.psi_hat[None], len(landmarks), axis=0)).numpy()
    return np.rint((x_hat.astype(np.float64) + 1) / 2 * 255).astype(np.uint8)


def _worst(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_frames_equal_the_training_graphs(published, batch):
    avatar, generator, folder = published
    landmarks = _landmarks(batch)
    expected = _trained_frames(avatar, generator, landmarks)
    assert np.ptp(expected) > 30  # not a flat picture, of which anything is equal to anything
    loaded = tf.saved_model.load(str(folder))
    frames = loaded.signatures["serving_default"](landmarks=tf.constant(landmarks))[
        "frames"
    ].numpy()
    assert frames.dtype == np.uint8 and _worst(frames, expected) <= 1
    assert _worst(render(avatar, landmarks), expected) <= 1


def test_c_api_renders_the_same(published):
    avatar, generator, folder = published
    session = Session(folder)
    for batch in (1, 3, 16):
        landmarks = _landmarks(batch, seed=batch)
        result = session.run("serving_default", landmarks=landmarks)
        assert result["ok"].shape == (batch,) and result["ok"].all()
        assert _worst(result["frames"], _trained_frames(avatar, generator, landmarks)) <= 1


def test_saved_model_cli_renders_the_same(published, tmp_path):
    avatar, generator, folder = published
    landmarks = _landmarks(1)
    frames = frames_by_cli(folder, landmarks, tmp_path)
    assert _worst(frames, _trained_frames(avatar, generator, landmarks)) <= 1


def test_jpegs_decode_to_the_frames_and_carry_the_mark(published):
    _, _, folder = published
    signatures = tf.saved_model.load(str(folder)).signatures
    landmarks = tf.constant(_landmarks(3))
    frames = signatures["serving_default"](landmarks=landmarks)["frames"].numpy()
    pictures = signatures["render_jpeg"](landmarks=landmarks)["jpeg_bytes"].numpy()
    assert pictures.shape == (3,)
    for picture, frame in zip(pictures, frames):
        decoded = Image.open(io.BytesIO(picture))
        assert decoded.format == "JPEG"
        assert xmp_mark(picture) == (provenance.SOURCE_TYPE, provenance.NOTICE)
        # The JFIF segment must come first, the XMP segment after it.
        assert decoded.info["jfif_version"] == (1, 1)
        unmarked = tf.io.encode_jpeg(frame, format="rgb", quality=95).numpy()
        assert np.array_equal(np.asarray(decoded), np.asarray(Image.open(io.BytesIO(unmarked))))


def test_bad_rows_are_rendered_from_the_reference_and_harm_nobody(published):
    avatar, _, folder = published
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    landmarks = _landmarks(4)
    clean = serve(landmarks=tf.constant(landmarks))["frames"].numpy()
    landmarks[1, 5, 0], landmarks[2, 60, 1] = np.nan, -np.inf
    result = serve(landmarks=tf.constant(landmarks))
    assert result["ok"].numpy().tolist() == [True, False, False, True]
    assert np.array_equal(result["frames"][0], clean[0]) and np.array_equal(
        result["frames"][3], clean[3]
    )
    reference = render(avatar, avatar.reference_landmarks[None])[0]
    assert (
        _worst(result["frames"][1].numpy(), reference) <= 1
        and _worst(result["frames"][2].numpy(), reference) <= 1
    )
    landmarks[3] = 1e30  # finite, if absurd: it must not turn into NaN inside
    assert serve(landmarks=tf.constant(landmarks))["ok"].numpy().tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert serve(landmarks=tf.zeros([0, 68, 2]))["frames"].shape == (0, 32, 32, 3)


def test_describe_returns_the_card_for_every_row(published):
    avatar, _, folder = published
    rows = (
        tf.saved_model.load(str(folder))
        .signatures["describe"](query=tf.zeros([2], tf.int32))["card"]
        .numpy()
    )
    assert len(rows) == 2 and rows[0] == rows[1] == (folder / "card.json").read_bytes()
    card = json.loads(rows[0])
    assert card["person"] == "ann" and card["resolution"] == 32 and card["ai_generated"] is True
    assert card["adain_size"] == len(avatar.psi_hat)
    np.testing.assert_allclose(card["reference_landmarks"], COLLINS, atol=1e-6)
    for name in (
        "mode",
        "preset",
        "images",
        "steps",
        "loss_before",
        "loss_after",
        "face_similarity",
        "weights_sha256",
    ):
        assert name in card
    assert card["software"]["tensorflow"] == tf.__version__


def test_every_batch_dimension_is_open(published):
    _, _, folder = published
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    assert {"serving_default", "render_jpeg", "describe"} <= set(signatures)
    for name in ("serving_default", "render_jpeg", "describe"):
        tensors = [*signatures[name].inputs.values(), *signatures[name].outputs.values()]
        assert signatures[name].inputs and all(
            tensor.tensor_shape.dim[0].size == -1 for tensor in tensors
        )


# Ops of Python and XLA, which other builds of TensorFlow lack.
_FOREIGN = ("PyFunc", "EagerPyFunc", "Xla", "NumpyFunction", "Assert", "CollectiveReduce", "Py")


def test_only_standard_ops_inside(published):
    _, _, folder = published
    graph = (
        saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        .meta_graphs[0]
        .graph_def
    )
    ops = {node.op for node in graph.node} | {
        node.op for f in graph.library.function for node in f.node_def
    }
    assert {"Conv2D", "EncodeJpeg"} <= ops
    assert not [op for op in ops if op.startswith(_FOREIGN)]
    assert not [
        f.signature.name
        for f in graph.library.function
        if "_XlaMustCompile" in f.attr and f.attr["_XlaMustCompile"].b
    ]
    known = set(tf.raw_ops.__dict__) | {f.signature.name for f in graph.library.function}
    assert {op for op in ops if op not in known and not op.startswith("_")} == set()


def test_warmup_holds_one_request_of_each_allowed_size(published):
    from tensorflow_serving.apis import prediction_log_pb2

    avatar, _, folder = published
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(r.numpy())
        for r in tf.data.TFRecordDataset(str(path))
    ]
    requests = [log.predict_log.request for log in logs]
    sizes = [
        r.inputs["landmarks"].tensor_shape.dim[0].size
        for r in requests
        if r.model_spec.signature_name == "serving_default"
    ]
    assert sizes == saved_model.allowed_batch_sizes(avatar.config.export.max_batch_size)
    signatures = tf.saved_model.load(str(folder)).signatures
    for request in requests:
        assert request.model_spec.name == "ann"
        inputs = {
            name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()
        }
        assert signatures[request.model_spec.signature_name](**inputs)["ok"].numpy().all()


@pytest.mark.parametrize(
    "largest, sizes", [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_allowed_batch_sizes_end_at_the_largest(largest, sizes):
    assert saved_model.allowed_batch_sizes(largest) == sizes


def test_the_batching_file_lets_a_hundred_batches_wait(published):
    """Without max_enqueued_batches TensorFlow Serving lets ten wait and refuses the rest."""
    avatar, _, folder = published
    proto = config_protos.BatchingParameters()
    text_format.Parse((folder / "batching_params.pbtxt").read_text(), proto)
    options = options_from_proto(proto)
    largest = avatar.config.export.max_batch_size
    assert options.max_batch_size == largest and options.max_enqueued_batches == 100
    assert list(options.allowed_batch_sizes) == saved_model.allowed_batch_sizes(largest)


def test_ops_keep_the_names_that_profilers_read(published):
    graph = (
        saved_model_pb2.SavedModel.FromString((published[2] / "saved_model.pb").read_bytes())
        .meta_graphs[0]
        .graph_def
    )
    convolutions = [
        node.name for f in graph.library.function for node in f.node_def if node.op == "Conv2D"
    ]
    assert convolutions and all("/" in name for name in convolutions)  # layer/op


@pytest.mark.parametrize("dtype, tolerance", [("float16", 2), ("bfloat16", 12)])
def test_half_precision_storage(tmp_path, published, dtype, tolerance):
    avatar, generator, _ = published
    folder = saved_model.export_person(avatar, tmp_path, "ann", dtype=dtype)
    landmarks = _landmarks(3)
    frames = Session(folder).run("serving_default", landmarks=landmarks)["frames"]
    assert _worst(frames, _trained_frames(avatar, generator, landmarks)) <= tolerance


def test_bfloat16_compute_differs_little(tmp_path, published):
    avatar, generator, _ = published
    folder = saved_model.export_person(avatar, tmp_path, "ann", bfloat16_compute=True)
    landmarks = _landmarks(3)
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    frames = loaded(landmarks=tf.constant(landmarks))["frames"].numpy()
    expected = _trained_frames(avatar, generator, landmarks)
    assert 0 < np.abs(frames.astype(float) - expected).mean() < 8


@pytest.mark.slow
@pytest.mark.parametrize("dtype, bytes_each", [("float32", 4), ("float16", 2)])
def test_size_on_disk(tmp_path, dtype, bytes_each):
    avatar, _ = random_avatar("demo")
    folder = saved_model.export_person(avatar, tmp_path, "ann", dtype=dtype)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    # Beside the weights: the graph (0.36 MB), the warm-up requests, the card.
    assert size <= bytes_each * sum(w.size for w in avatar.weights) + 500_000


def test_refusals(tmp_path, published):
    avatar = published[0]
    with pytest.raises(InputError, match="reserved"):
        saved_model.export_person(avatar, tmp_path, "bank")
    with pytest.raises(InputError, match="float64"):
        saved_model.export_person(avatar, tmp_path, "ann", dtype="float64")
    assert not list(tmp_path.iterdir())


def test_avatar_survives_the_disk_and_refuses_another_schema(tmp_path, published):
    avatar = published[0]
    save_avatar(avatar, tmp_path)
    again = load_avatar(tmp_path)
    assert (
        again.config == avatar.config and again.mode == avatar.mode and again.facts == avatar.facts
    )
    assert np.array_equal(render(again, _landmarks(2)), render(avatar, _landmarks(2)))
    text = (tmp_path / "avatar.json").read_text()
    (tmp_path / "avatar.json").write_text(text.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(InputError, match="schema"):
        load_avatar(tmp_path)
    with pytest.raises(InputError, match="no finished avatar"):
        load_avatar(tmp_path / "nowhere")
