"""One list of behaviours, run against the embedded server and against a real
tensorflow_model_server.

The embedded server always; the real one where TF_SERVING_COMMAND names it (tests/real_server.py),
with the flags and files of production. This file: the client, signatures, versions and reloading;
test_serving_conformance_calls.py: batching and refusals; test_serving_conformance_bank.py: the bank
across versions; test_serving_conformance_exports.py: real exports.
"""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, model_management_pb2

from serving.client import AvatarClient, AvatarError
from tests import toy_models
from tests.conformance import AVAILABLE, Code, refusal
from tests.toy_models import landmarks, level

# -- the client ----------------------------------------------------------------------------------


@pytest.mark.parametrize("jpeg", [False, True])
def test_the_client_renders_every_row_of_a_long_clip_in_order(served, toy, jpeg):
    x = np.linspace(0, 1, 21)
    clip = np.concatenate([landmarks(value, 1 - value) for value in x])
    with AvatarClient(served.address, toy, jpeg=jpeg) as avatar:
        frames = avatar.render(clip)
    assert frames.shape == (21, toy_models.SIZE, toy_models.SIZE, 3) and frames.dtype == np.uint8
    expected = np.stack(
        [np.full(21, 2), [level(v) for v in x], [level(np.float32(1 - v)) for v in x]], axis=-1
    )
    np.testing.assert_allclose(frames[:, 3, 3].astype(int), expected, atol=3 if jpeg else 1)


def test_the_client_streams_in_order(served, toy):
    points = [landmarks(value)[0] for value in np.linspace(0, 1, 30)]
    with AvatarClient(served.address, toy, jpeg=False) as avatar:
        frames = list(avatar.stream(iter(points)))
    assert [frame[0, 0, 1] for frame in frames] == [level(points[i][0, 0]) for i in range(30)]


def test_the_client_reads_the_card_of_the_version_it_names(served, toy):
    for spec, version in (
        ({"label": "stable"}, 1),
        ({"label": "canary"}, 2),
        ({"version": 1}, 1),
        ({}, 2),
    ):
        with AvatarClient(served.address, toy, **spec) as avatar:
            assert avatar.card()["version"] == version


def test_the_client_explains_an_unknown_person(served, toy):
    with (
        AvatarClient(served.address, "nobody") as avatar,
        pytest.raises(AvatarError, match="'nobody' is not served") as e,
    ):
        avatar.render(landmarks(0.5))
    assert e.value.code == Code.NOT_FOUND


# -- signatures and metadata ---------------------------------------------------------------------


def test_every_signature_answers(served, toy):
    made = served.predict(toy, {"landmarks": landmarks(0.2, 0.7, 3)})
    assert set(made.outputs) == {"frames", "ok"}
    assert made.model_spec.name == toy and made.model_spec.version.value == 2
    assert tf.make_ndarray(made.outputs["ok"]).tolist() == [True] * 3
    jpegs = served.predict(toy, {"landmarks": landmarks(0.2, 0.7, 2)}, "render_jpeg").outputs[
        "jpeg_bytes"
    ]
    frames = [tf.io.decode_jpeg(data).numpy() for data in jpegs.string_val]
    assert (
        frames[0].shape == (toy_models.SIZE, toy_models.SIZE, 3)
        and abs(int(frames[1][0, 0, 1]) - level(0.2)) <= 2
    )
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


# -- versions, labels, status, reload ------------------------------------------------------------


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
    assert refused.details == f"Servable not found for request: Specific({toy}, 77)"
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
    # A model without a platform is not among these: TensorFlow Serving refuses it, and every later
    # reload too.
    model = request.config.model_config_list.config.add(
        name="x", base_path="relative/path", model_platform="tensorflow"
    )
    with refusal(Code.INVALID_ARGUMENT):
        served.model_stub.HandleReloadConfigRequest(request, timeout=10)
    model.base_path = str(served.models / toy)
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
