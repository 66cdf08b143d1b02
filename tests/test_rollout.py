"""Rollout, rollback and retirement while callers call, on both servers."""

import threading
import time

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving import models_config, rollout
from serving.client import AvatarClient, AvatarError
from serving.rollout import ModelState, next_step
from tests import toy_models
from tests.script_runner import run_script
from tests.serving_fixtures import polling, wait_until
from tests.toy_models import landmarks
from tf_talkinghead.errors import InputError

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.fixture
def models(tmp_path):
    toy_models.publish(tmp_path / "models", "anna", 1)
    models_config.update(tmp_path / "models")
    return tmp_path / "models"


def loaded(address, name="anna"):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    with grpc.insecure_channel(address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        rows = stub.GetModelStatus(request, timeout=10).model_version_status
    return {row.version for row in rows if row.state == AVAILABLE}


def drawing(address, label=None):
    """The version that draws for callers of `label`."""
    with AvatarClient(address, "anna", label=label, jpeg=False) as avatar:
        return int(avatar.render(landmarks(0.5))[0, 0, 0, 0])


def labels_drawing(address):
    return drawing(address, "stable"), drawing(address, "canary"), drawing(address)


class Callers:
    """Threads that call by both labels and by none, on end; what they saw and what failed."""

    def __init__(self, address):
        self.seen, self.errors = {None: [], "stable": [], "canary": []}, []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(address, label)) for label in self.seen
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, address, label):
        with AvatarClient(address, "anna", label=label, jpeg=False) as avatar:
            while not self._stop.is_set():
                try:
                    version = int(avatar.render(landmarks(0.5))[0, 0, 0, 0])
                except AvatarError as error:
                    self.errors.append(f"{label}: {error}")
                    continue
                if self.seen[label][-1:] != [version]:
                    self.seen[label].append(version)


def test_no_call_is_lost_from_rollout_to_retirement(models, server_kind):
    with polling(server_kind, models) as address:
        with Callers(address) as callers:
            wait_until(lambda: all(callers.seen.values()))
            toy_models.publish(models, "anna", 2)
            assert rollout.roll_out(models, [address]) == []
            assert labels_drawing(address) == (1, 2, 2)
            assert rollout.roll_out(models, [address], promote=["anna"]) == []
            assert labels_drawing(address) == (2, 2, 2)
            wait_until(lambda: loaded(address) == {2})
            assert rollout.roll_out(models, [address], pin={"anna": 1}) == []
            assert labels_drawing(address) == (1, 2, 2)
            toy_models.publish(models, "anna", 3)
            assert rollout.roll_out(models, [address]) == []
            assert labels_drawing(address) == (1, 3, 3)
            assert rollout.roll_out(models, [address], retire={"anna": 3}) == []
            assert labels_drawing(address) == (1, 2, 2)
            assert not (models / "anna" / "3").exists()
        assert callers.errors == []
    assert callers.seen == {"stable": [1, 2, 1], "canary": [1, 2, 3, 2], None: [1, 2, 3, 2]}


def test_writing_twice_within_a_poll_keeps_the_server_loading(models, server_kind):
    with polling(server_kind, models) as address:
        toy_models.publish(models, "anna", 2)
        models_config.update(models)
        models_config.update(models)
        wait_until(lambda: loaded(address) == {1, 2}, seconds=10)
        assert drawing(address, "stable") == 1


def test_a_configuration_that_the_server_refuses_is_mended_by_the_same_command(models, server_kind):
    with polling(server_kind, models) as address:
        toy_models.publish(models, "anna", 2)
        refused = models_config.config_of(models, {"anna": {"stable": 2, "canary": 2}})
        models_config.path_in(models).write_text(text_format.MessageToString(refused))
        time.sleep(
            2.5
        )  # the server has read it by now: the label stays, and so does what is loaded
        assert labels_drawing(address) == (1, 1, 1) and loaded(address) == {1}
        assert rollout.roll_out(models, [address]) == []
        assert labels_drawing(address) == (2, 2, 2)


def test_a_version_that_does_not_load_is_named_and_moves_no_label(models, server_kind):
    with polling(server_kind, models) as address:
        (models / "anna" / "2").mkdir()  # no SavedModel in it
        (models / "anna" / "2" / "saved_model.pb").write_bytes(b"no graph")
        (left,) = rollout.roll_out(models, [address], promote=["anna"], wait_seconds=4)
        # TensorFlow Serving tries a version for minutes before its status tells of the error
        said = "does not load" if server_kind == "embedded" else "has not moved to version 2"
        assert left.startswith("anna: ") and said in left
        assert labels_drawing(address) == (1, 1, 1)


def test_the_command_moves_labels_and_says_what_it_could_not_do(models, tmp_path):
    toy_models.publish(models, "anna", 2)
    with polling("embedded", models) as address:
        common = [f"--models={models}", "--write_config_only"]
        unasked, moved, retired, *refused = run_script(
            "serve",
            [*common, "--promote=anna"],
            [*common, f"--server={address}", "--promote=anna"],
            [*common, f"--server={address}", "--retire=anna=1"],
            [*common, "--retire=anna=2"],
            [*common, f"--server={address}", "--retire=anna=2"],
            [*common, "--server=localhost"],
            [*common, "--server=localhost:1"],
            [f"--models={models}", f"--server={address}"],
        )
        assert labels_drawing(address) == (2, 2, 2)
    assert unasked.code == moved.code == retired.code == 0
    assert "stable does not move to version 2 yet" in unasked.stdout
    assert not (models / "anna" / "1").exists()
    for result, reason in zip(
        refused,
        (
            "--retire needs --server",
            "is the only one",
            "expected HOST:PORT",
            "UNAVAILABLE",
            "needs --write",
        ),
    ):
        assert result.code == 1 and len(result.stderr.strip().splitlines()) == 1
        assert reason in result.stderr


def test_what_stable_points_at_cannot_be_retired(models):
    toy_models.publish(models, "anna", 2)
    with pytest.raises(InputError, match="stable points at version 1.*--pin=anna=2"):
        models_config.wanted_labels(models, models_config.read_if_there(models), retire={"anna": 1})


def state(*versions, **labels):
    return ModelState(frozenset(versions), labels)


@pytest.mark.parametrize(
    ("states", "labels", "versions"),
    [
        # wanted is stable 1, canary 2
        ([state()], {"stable": 1, "canary": 2}, {1, 2}),  # a new model
        ([state(1, stable=1, canary=1)], {"stable": 1, "canary": 1}, {1, 2}),
        ([state(1, 2, stable=1, canary=1)], {"stable": 1, "canary": 2}, {1, 2}),
        # the label moves when all servers have loaded, and nothing is dropped that one still draws
        # with
        (
            [state(1, 2, stable=1, canary=1), state(1, stable=1, canary=1)],
            {"stable": 1, "canary": 1},
            {1, 2},
        ),
        (
            [state(1, 2, stable=1, canary=2), state(1, 2, 3, stable=3, canary=2)],
            {"stable": 1, "canary": 2},
            {1, 2, 3},
        ),
        # a server that has just started has every version and label of the file already
        ([state(1, 2, stable=1, canary=2), state(1, stable=1)], {"stable": 1, "canary": 2}, {1, 2}),
        # a label that points at nothing loaded is left out until its version is there
        ([state(1, stable=1, canary=None)], {"stable": 1}, {1, 2}),
    ],
)  # fmt: skip
def test_the_next_step(states, labels, versions):
    assert next_step({"stable": 1, "canary": 2}, states) == (labels, versions)
