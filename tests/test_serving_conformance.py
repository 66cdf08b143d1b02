"""One list of behaviours, run against the embedded server and against a real tensorflow_model_server.

The embedded server always; the real one where TF_SERVING_ADDRESS (host:port) and TF_SERVING_MODELS (a folder that this
process can write and the server reads under the same path) are set. Start it with any model config and

    --enable_batching --enable_per_model_batching_parameters --file_system_poll_wait_seconds=1
    --enable_grpc_healthcheck_service

The tests publish toy models under TF_SERVING_MODELS and reload the configuration over gRPC.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import AvatarClient, AvatarError
from serving.options import ServerOptions
from serving.server import AvatarServer
from tests import toy_models
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tests.toy_models import landmarks, level
from tf_talkinghead.avatar import render
from tf_talkinghead.bank import export_bank
from tf_talkinghead.card import jpeg_comment
from tf_talkinghead.export import export_person

Code = grpc.StatusCode
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


class Served:
    """A running server, the folder its models are in, and stubs to call it with."""

    def __init__(self, kind, address, models):
        self.kind, self.address, self.models = kind, address, models
        self._channel = grpc.insecure_channel(address)
        self.predict_stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self.model_stub = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self.health_stub = health_pb2_grpc.HealthStub(self._channel)
        self._config = {}

    def configure(self, name, labels=None, versions=None, folder=None):
        """Adds or changes the model `name` and reloads; `versions` None is the default policy."""
        self._config[name] = (labels or {}, versions, folder or self.models / name)
        self._reload()

    def drop(self, name):
        """Takes `name` out of the configuration and waits until it is gone."""
        del self._config[name]
        self._reload()
        self.wait_until(lambda: AVAILABLE not in self.status(name).values())

    def _reload(self):
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()  # nobody at all is a list too
        for name, (labels, versions, folder) in self._config.items():
            model = request.config.model_config_list.config.add(
                name=name, base_path=str(folder), model_platform="tensorflow"
            )
            model.version_labels.update(labels)
            if versions:
                model.model_version_policy.specific.versions.extend(versions)
        self.model_stub.HandleReloadConfigRequest(request, timeout=60)

    def publish(self, name, version, **options):
        return toy_models.publish(self.models, name, version, **options)

    def status(self, name, version=None):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        if version is not None:
            request.model_spec.version.value = version
        rows = self.model_stub.GetModelStatus(request, timeout=10).model_version_status
        return {row.version: row.state for row in rows}

    def wait_until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)

    def predict(self, name, inputs=None, signature="serving_default", outputs=(), version=None, label=None, timeout=10):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        request.output_filter.extend(outputs)
        for alias, value in (inputs or {"landmarks": landmarks(0.2, 0.7)}).items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
        return self.predict_stub.Predict(request, timeout=timeout)

    def answering(self, name, **spec):
        """The number of the version that draws."""
        return int(tf.make_ndarray(self.predict(name, **spec).outputs["frames"])[0, 0, 0, 0])


@pytest.fixture(scope="module", params=["embedded", "tensorflow_model_server"])
def served(request, tmp_path_factory):
    if request.param == "embedded":
        models = tmp_path_factory.mktemp("models")
        toy_models.publish(models, "first", 1)
        config = models / "models.config"
        config.write_text(
            f'model_config_list {{ config {{ name: "first" base_path: "{models}/first" model_platform: "tensorflow" }} }}'
        )
        server = AvatarServer(
            ServerOptions(
                model_config_file=str(config),
                host="localhost",
                port=0,
                enable_batching=True,
                enable_per_model_batching_parameters=True,
                file_system_poll_wait_seconds=0.1,
                grpc_max_threads=40,
            )
        )
        server.start()
        yield Served("embedded", f"localhost:{server.port}", models)
        server.stop()
        return
    address, models = os.environ.get("TF_SERVING_ADDRESS"), os.environ.get("TF_SERVING_MODELS")
    if not address or not models:
        pytest.skip("no real tensorflow_model_server: TF_SERVING_ADDRESS and TF_SERVING_MODELS are not set")
    yield Served("tensorflow_model_server", address, pathlib.Path(models))


@pytest.fixture(scope="module")
def toy(served):
    """The model "toy" with versions 1 and 2, labelled stable and canary."""
    served.publish("toy", 1)
    served.publish("toy", 2)
    served.configure("toy", versions=[1, 2])
    served.wait_until(lambda: served.status("toy") == {1: AVAILABLE, 2: AVAILABLE})
    served.configure("toy", labels={"stable": 1, "canary": 2}, versions=[1, 2])
    return "toy"


def refusal(code):
    """A context in which a call must end with `code`."""

    class Refusal:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, trace):
            assert error is not None, f"expected {code.name}, the call succeeded"
            if isinstance(error, grpc.RpcError):
                assert error.code() == code, f"expected {code.name}, got {error.code().name}: {error.details()}"
                self.details = error.details()
                return True
            return False

    return Refusal()


# -- the client ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jpeg", [False, True])
def test_the_client_renders_every_row_of_a_long_clip_in_order(served, toy, jpeg):
    x = np.linspace(0, 1, 21)
    clip = np.concatenate([landmarks(value, 1 - value) for value in x])
    with AvatarClient(served.address, toy, jpeg=jpeg) as avatar:
        frames = avatar.render(clip)
    assert frames.shape == (21, toy_models.SIZE, toy_models.SIZE, 3) and frames.dtype == np.uint8
    expected = np.stack([np.full(21, 2), [level(v) for v in x], [level(np.float32(1 - v)) for v in x]], axis=-1)
    np.testing.assert_allclose(frames[:, 3, 3].astype(int), expected, atol=3 if jpeg else 1)


def test_the_client_streams_in_order(served, toy):
    points = [landmarks(value)[0] for value in np.linspace(0, 1, 30)]
    with AvatarClient(served.address, toy, jpeg=False) as avatar:
        frames = list(avatar.stream(iter(points)))
    assert [frame[0, 0, 1] for frame in frames] == [level(points[i][0, 0]) for i in range(30)]


def test_the_client_reads_the_card_of_the_version_it_names(served, toy):
    for spec, version in (({"label": "stable"}, 1), ({"label": "canary"}, 2), ({"version": 1}, 1), ({}, 2)):
        with AvatarClient(served.address, toy, **spec) as avatar:
            assert avatar.card()["version"] == version


def test_the_client_explains_an_unknown_person(served, toy):
    with AvatarClient(served.address, "nobody") as avatar, pytest.raises(AvatarError, match="'nobody' is not served") as e:
        avatar.render(landmarks(0.5))
    assert e.value.code == Code.NOT_FOUND


def test_people_of_the_bank_share_a_model(served, toy):
    served.publish("bank", 1, bank=True)
    served.configure("bank")
    file = served.models / "bank.vectors.npz"
    np.savez(file, cleo=np.float16([0.25, 0, 0, 0]), dan=np.float16([0.75, 0, 0, 0]))
    for person, third in (("cleo", 0.25), ("dan", 0.75)):
        with AvatarClient(served.address, person, bank=file, jpeg=False) as avatar:
            frames = avatar.render(landmarks(0.5, rows=3))
        assert (frames[..., 2] == level(third)).all()
    served.drop("bank")


# -- signatures and metadata --------------------------------------------------------------------------------------


def test_every_signature_answers(served, toy):
    made = served.predict(toy, {"landmarks": landmarks(0.2, 0.7, 3)})
    assert set(made.outputs) == {"frames", "ok"}
    assert made.model_spec.name == toy and made.model_spec.version.value == 2
    assert tf.make_ndarray(made.outputs["ok"]).tolist() == [True] * 3
    jpegs = served.predict(toy, {"landmarks": landmarks(0.2, 0.7, 2)}, "render_jpeg").outputs["jpeg_bytes"]
    frames = [tf.io.decode_jpeg(data).numpy() for data in jpegs.string_val]
    assert frames[0].shape == (toy_models.SIZE, toy_models.SIZE, 3) and abs(int(frames[1][0, 0, 1]) - level(0.2)) <= 2
    cards = served.predict(toy, {"query": np.zeros([2], np.int32)}, "describe").outputs["card"]
    assert len(cards.string_val) == 2


def test_an_empty_signature_name_is_the_default_one(served, toy):
    assert set(served.predict(toy, signature="").outputs) == {"frames", "ok"}


def test_the_output_filter_picks(served, toy):
    assert set(served.predict(toy, outputs=["ok"]).outputs) == {"ok"}
    with refusal(Code.INVALID_ARGUMENT) as refused:
        served.predict(toy, outputs=["picture"])
    assert "output tensor alias not found in signature: picture" in refused.details
    with refusal(Code.INVALID_ARGUMENT) as refused:
        served.predict(toy, outputs=["ok", "ok"])
    assert "duplicate output tensor alias: ok" in refused.details


def test_metadata_lists_the_signatures(served, toy):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = toy
    response = served.predict_stub.GetModelMetadata(request, timeout=10)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "render_jpeg", "describe"} <= set(signatures.signature_def)
    shape = signatures.signature_def["serving_default"].inputs["landmarks"].tensor_shape
    assert [dim.size for dim in shape.dim] == [-1, 68, 2]
    request.model_spec.name = "nobody"
    with refusal(Code.NOT_FOUND):
        served.predict_stub.GetModelMetadata(request, timeout=10)
    request.model_spec.name = toy
    for fields in ([], ["weights"]):
        del request.metadata_field[:]
        request.metadata_field.extend(fields)
        with refusal(Code.INVALID_ARGUMENT):
            served.predict_stub.GetModelMetadata(request, timeout=10)


# -- versions, labels, status, reload -----------------------------------------------------------------------------


def test_a_version_is_named_by_number_label_or_not_at_all(served, toy):
    assert served.answering(toy, version=1) == 1
    assert served.answering(toy, label="stable") == 1
    assert served.answering(toy, label="canary") == 2
    assert served.answering(toy) == 2


def test_unknown_models_versions_and_labels(served, toy):
    with refusal(Code.NOT_FOUND) as refused:
        served.predict("nobody")
    assert refused.details == "Servable not found for request: Latest(nobody)"
    with refusal(Code.NOT_FOUND) as refused:
        served.predict(toy, version=77)
    assert refused.details == "Servable not found for request: Specific(toy, 77)"
    with refusal(Code.INVALID_ARGUMENT) as refused:
        served.predict(toy, label="beta")
    assert refused.details == "Unrecognized servable version label: beta"


def test_status_of_known_and_unknown_models(served, toy):
    assert served.status(toy) == {1: AVAILABLE, 2: AVAILABLE}
    assert served.status(toy, 1) == {1: AVAILABLE}
    with refusal(Code.NOT_FOUND):
        served.status("nobody")
    with refusal(Code.NOT_FOUND):
        served.status(toy, 77)


def test_a_label_cannot_point_at_what_is_not_loaded(served, toy):
    with refusal(Code.FAILED_PRECONDITION) as refused:
        served.configure(toy, labels={"stable": 1, "canary": 9}, versions=[1, 2])
    assert "not currently available for inference" in refused.details
    served.configure(toy, labels={"stable": 1, "canary": 2}, versions=[1, 2])
    assert served.answering(toy, label="canary") == 2


def test_reload_adds_moves_and_removes(served, toy):
    served.publish("guest", 1)
    with refusal(Code.NOT_FOUND):
        served.predict("guest")
    served.configure("guest")
    assert served.answering("guest") == 1
    served.configure(toy, labels={"stable": 2, "canary": 2}, versions=[1, 2])
    assert served.answering(toy, label="stable") == 2
    served.configure(toy, labels={"stable": 1, "canary": 2}, versions=[1, 2])
    served.drop("guest")
    with refusal(Code.NOT_FOUND):
        served.predict("guest")


def test_reload_refuses_what_makes_no_sense(served, toy):
    request = model_management_pb2.ReloadConfigRequest()
    with refusal(Code.INVALID_ARGUMENT):
        served.model_stub.HandleReloadConfigRequest(request, timeout=10)
    model = request.config.model_config_list.config.add(name="x", base_path=str(served.models / "toy"))
    with refusal(Code.INVALID_ARGUMENT):  # no platform
        served.model_stub.HandleReloadConfigRequest(request, timeout=10)
    model.model_platform, model.base_path = "tensorflow", "relative/path"
    with refusal(Code.INVALID_ARGUMENT):
        served.model_stub.HandleReloadConfigRequest(request, timeout=10)
    model.base_path = str(served.models / "toy")
    request.config.model_config_list.config.add().CopyFrom(model)
    with refusal(Code.INVALID_ARGUMENT):  # the same name twice
        served.model_stub.HandleReloadConfigRequest(request, timeout=10)
    assert served.answering(toy) == 2


def test_a_new_version_is_picked_up_and_the_old_one_leaves(served, toy):
    served.publish("rolling", 1)
    served.configure("rolling")
    assert served.answering("rolling") == 1
    served.publish("rolling", 2)
    seen = []
    served.wait_until(lambda: seen.append(served.answering("rolling")) or seen[-1] == 2)
    assert seen == sorted(seen)
    served.wait_until(lambda: served.status("rolling")[1] != AVAILABLE)
    with refusal(Code.NOT_FOUND):
        served.predict("rolling", version=1)


# -- batching, ok, errors -----------------------------------------------------------------------------------------


def test_callers_batched_together_get_their_own_rows(served, toy):
    def call(index):
        rows = 1 + index % 3
        x = np.float32([(index * 7 + row) % 101 / 100 for row in range(rows)])
        inputs = np.concatenate([landmarks(value, 0.1 * (index % 10)) for value in x])
        frames = tf.make_ndarray(served.predict(toy, {"landmarks": inputs}, timeout=30).outputs["frames"])
        return frames[:, 0, 0, 1].tolist() == [level(v) for v in x] and (frames[..., 2] == level(0.1 * (index % 10))).all()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(160)))


def test_a_request_larger_than_a_batch_is_refused(served, toy):
    with refusal(Code.INVALID_ARGUMENT) as refused:
        served.predict(toy, {"landmarks": landmarks(0.5, rows=9)})
    assert "larger than maximum input batch size 8" in refused.details


def test_a_row_that_is_not_finite_harms_nobody(served, toy):
    """In the graph `ok` is false for it alone; the embedded server refuses the request before batching it."""
    bad = landmarks(0.2, 0.7, 3)
    bad[1, 40, 0] = np.nan
    if served.kind == "embedded":
        with refusal(Code.INVALID_ARGUMENT) as refused:
            served.predict(toy, {"landmarks": bad})
        assert "landmarks: row 1" in refused.details
    else:
        made = served.predict(toy, {"landmarks": bad}).outputs
        assert tf.make_ndarray(made["ok"]).tolist() == [True, False, True]
        assert tf.make_ndarray(made["frames"])[[0, 2], 0, 0, 1].tolist() == [level(0.2)] * 2
    assert served.answering(toy) == 2


@pytest.mark.parametrize(
    "inputs",
    [
        {"landmarks": np.zeros([1, 68, 2], np.float64)},
        {"landmarks": np.zeros([1, 68, 2], np.int32)},
        {"landmarks": np.zeros([1, 67, 2], np.float32)},
        {"landmarks": np.zeros([68, 2], np.float32)},
        {"landmarks": np.float32(0.5)},
        {"landmark": np.zeros([1, 68, 2], np.float32)},
        {"landmarks": np.zeros([1, 68, 2], np.float32), "person": np.zeros([1, 4], np.float16)},
        {"query": np.zeros([1], np.int32)},
    ],
    ids=["float64", "int32", "67 points", "no batch", "scalar", "misspelt", "one too many", "another's"],
)
def test_inputs_that_do_not_fit_are_refused(served, toy, inputs):
    with refusal(Code.INVALID_ARGUMENT):
        served.predict(toy, inputs)


def test_malformed_tensors_are_refused(served, toy):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = toy
    proto = request.inputs["landmarks"]
    proto.CopyFrom(tf.make_tensor_proto(landmarks(0.5)))
    proto.tensor_content = proto.tensor_content[:-1]
    with refusal(Code.INVALID_ARGUMENT) as refused:
        served.predict_stub.Predict(request, timeout=10)
    assert "tensor parsing error: landmarks" in refused.details


def test_an_unknown_signature_and_a_missing_name(served, toy):
    with refusal(Code.FAILED_PRECONDITION) as refused:
        served.predict(toy, signature="render_png")
    assert refused.details == 'Serving signature key "render_png" not found.'
    with refusal(Code.INVALID_ARGUMENT):
        served.predict_stub.Predict(predict_pb2.PredictRequest(), timeout=10)
    with refusal(Code.INVALID_ARGUMENT):
        served.predict("")


def test_a_deadline_that_has_passed(served, toy):
    with refusal(Code.DEADLINE_EXCEEDED):
        served.predict(toy, timeout=-1.0)


def test_the_health_service_answers(served, toy):
    answer = served.health_stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


# -- what this project exports ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(served):
    """Real exports of random weights: "ann" with a model of her own, "bea" and "cem" in the bank; name -> Avatar."""
    folder = served.models / "exported"
    ann, _ = random_avatar("tiny")
    bea = dataclasses.replace(ann, mode="vector", psi_hat=np.roll(ann.psi_hat, 1))
    cem = dataclasses.replace(ann, mode="vector", psi_hat=ann.psi_hat[::-1].copy())
    export_person(ann, folder, "ann")
    export_bank(bea.config, bea.weights, folder, {"bea": bea, "cem": cem}, COLLINS)
    served.configure("ann", folder=folder / "ann")
    served.configure("bank", folder=folder / "bank")
    yield {"ann": ann, "bea": bea, "cem": cem}
    served.drop("ann")
    served.drop("bank")


def client_of(served, person, **options):
    bank = None if person == "ann" else served.models / "exported" / "bank.vectors.npz"
    return AvatarClient(served.address, person, bank=bank, **options)


def motion(rows, seed=0):
    """COLLINS, a little disturbed: [rows, 68, 2]."""
    return COLLINS + np.random.default_rng(seed).normal(0, 0.02, [rows, 68, 2]).astype(np.float32)


@pytest.mark.parametrize("person", ["ann", "bea", "cem"])
def test_an_exported_avatar_is_served_as_it_was_made(served, exported, person):
    clip = motion(11)
    expected = render(exported[person], clip).astype(int)
    with client_of(served, person, jpeg=False) as avatar:
        assert np.abs(avatar.render(clip) - expected).max() <= 1
        card = avatar.card()
    assert card["person"] == person
    np.testing.assert_allclose(card["reference_landmarks"], COLLINS, atol=1e-6)
    quality = exported[person].config.export.jpeg_quality
    coded = [tf.io.decode_jpeg(tf.io.encode_jpeg(np.uint8(frame), quality=quality)).numpy() for frame in expected]
    with client_of(served, person, jpeg=True) as avatar:
        assert np.abs(avatar.render(clip) - np.stack(coded).astype(int)).mean() < 2


def test_people_of_an_exported_bank_keep_their_faces_in_one_batch(served, exported):
    clips = {person: motion(6, seed) for seed, person in enumerate(("bea", "cem"))}
    expected = {person: render(exported[person], clip).astype(int) for person, clip in clips.items()}
    assert np.abs(expected["bea"] - expected["cem"]).mean() > 1

    def call(index):
        person = ("bea", "cem")[index % 2]
        with client_of(served, person, jpeg=False) as avatar:
            row = index % 6
            return np.abs(avatar.render(clips[person][row : row + 1])[0] - expected[person][row]).max() <= 1

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(48)))


def test_the_marks_of_an_exported_picture_arrive(served, exported):
    outputs = served.predict("ann", {"landmarks": motion(1)}, "render_jpeg").outputs
    assert jpeg_comment() in tf.make_ndarray(outputs["jpeg_bytes"])[0]
