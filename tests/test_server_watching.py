"""The embedded server watches its folders and its config file: versions come and go."""

import shutil
import threading
import time

import grpc
import pytest
import tensorflow as tf

from serving import models_config, rollout
from serving.client import AvatarClient
from tests import toy_models
from tests.serving_fixtures import answering, request_for, serving, stub_of, wait_until
from tests.toy_models import level
from tf_talkinghead.export import store
from tf_talkinghead.files import write_atomically

Code = grpc.StatusCode


@pytest.fixture
def models(tmp_path):
    toy_models.publish(tmp_path / "models", "anna", 1)
    return tmp_path / "models"


def code_of(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    return error.value.code()


def test_everyone_in_the_folder_is_served_as_they_come_and_go(models):
    with serving(models=str(models)) as server:
        assert answering(server, "anna") == 1
        toy_models.publish(models, "bob", 5)
        wait_until(lambda: server.manager.registry.serving("bob"))
        assert answering(server, "bob") == 5
        shutil.rmtree(models / "bob")
        wait_until(lambda: not server.manager.registry.serving("bob"))
        assert code_of(stub_of(server).Predict, request_for("bob"), timeout=20) == Code.NOT_FOUND
        assert answering(server, "anna") == 1


def test_no_call_fails_while_versions_come_and_go(models):
    with serving(models=str(models), grpc_max_threads=16) as server:
        stop, seen, errors = threading.Event(), [], []

        def hammer():
            stub = stub_of(server)
            while not stop.is_set():
                try:
                    response = stub.Predict(request_for("anna"), timeout=20)
                    frame = tf.make_ndarray(response.outputs["frames"])[0, 0, 0].tolist()
                    assert frame == [response.model_spec.version.value, level(0.2), level(0.7)]
                    seen.append(frame[0])
                except Exception as error:
                    errors.append(error)

        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in range(2, 6):
            toy_models.publish(models, "anna", version)
            wait_until(lambda version=version: seen and seen[-1] == version)
            shutil.rmtree(models / "anna" / str(version - 1))
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == [] and set(seen) == {1, 2, 3, 4, 5}


def test_a_version_that_does_not_load_or_warm_up_displaces_nobody(models):
    with serving(models=str(models)) as server:
        registry = server.manager.registry
        (models / "anna" / ".3").mkdir()  # half-written: not even looked at
        (models / "anna" / "2").mkdir()  # no SavedModel in it
        wait_until(
            lambda: 2 in registry.models["anna"] and registry.models["anna"][2].error is not None
        )
        assert answering(server, "anna") == 1 and 3 not in registry.models["anna"]
        broken = toy_models.publish(models, "anna", 4)
        (broken / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a record")
        toy_models.publish(models, "bob", 1)
        wait_until(lambda: registry.serving("bob"))
        wait_until(
            lambda: 4 in registry.models["anna"] and registry.models["anna"][4].error is not None
        )
        assert answering(server, "anna") == 1


def test_a_version_that_is_not_as_published_is_not_served(models):
    with serving(models=str(models)) as server:
        registry = server.manager.registry

        def publish(version, flipped):
            folder = toy_models.publish(models.parent / "made", "anna", version)
            store.write_digests(folder)
            if flipped:
                graph = bytearray((folder / "saved_model.pb").read_bytes())
                graph[len(graph) // 2] ^= 1
                (folder / "saved_model.pb").write_bytes(graph)
            folder.rename(models / "anna" / str(version))

        publish(2, flipped=True)
        wait_until(lambda: 2 in registry.models["anna"] and registry.models["anna"][2].error)
        assert "SHA256SUMS" in registry.models["anna"][2].error.message
        assert answering(server, "anna") == 1
        publish(3, flipped=False)
        wait_until(lambda: answering(server, "anna") == 3)


def test_a_version_is_warmed_up_before_it_is_available(models, monkeypatch):
    from serving import servables

    rows = []
    run = servables.Servable.run

    def recorded(self, signature_name, inputs, outputs):
        rows.append(servables.rows_of(inputs))
        return run(self, signature_name, inputs, outputs)

    monkeypatch.setattr(servables.Servable, "run", recorded)
    with serving(models=str(models)) as server:
        assert rows == [1, 2, 4, 8]
        assert server.manager.registry.serving("anna")


def test_stable_stays_where_the_config_file_put_it(models):
    models_config.update(models)
    toy_models.publish(models, "anna", 2)
    with serving(models=str(models)) as server:
        for version in (2, 3):
            if version == 3:
                toy_models.publish(models, "anna", 3)
            wait_until(lambda version=version: answering(server, "anna") == version)
            for label, expected in (("stable", 1), ("canary", version)):
                with AvatarClient(f"localhost:{server.port}", "anna", label=label) as avatar:
                    assert avatar.card()["version"] == expected
        assert rollout.roll_out(models, [f"localhost:{server.port}"], promote=["anna"]) == []

        def stable():
            with AvatarClient(f"localhost:{server.port}", "anna", label="stable") as avatar:
                return avatar.card()["version"]

        wait_until(lambda: stable() == 3)


def test_the_config_file_is_polled(models, tmp_path):
    toy_models.publish(models, "anna", 2)
    file = tmp_path / "models.config"

    def write(version):
        text = (
            "model_config_list "
            f'{{ config {{ name: "a" base_path: "{models}/anna" model_platform: "tensorflow"'
            f" model_version_policy {{ specific {{ versions: {version} }} }} }} }}"
        )
        write_atomically(file, text.encode())  # a poll must not find half of it

    write(2)
    with serving(model_config_file=str(file), model_config_file_poll_wait_seconds=0.1) as server:
        assert answering(server, "a") == 2
        file.write_text("not a config {")
        time.sleep(0.3)
        assert answering(server, "a") == 2
        write(1)
        wait_until(lambda: answering(server, "a") == 1)


def test_one_model_by_name_and_folder(models):
    with serving(model_name="her", model_base_path=str(models / "anna")) as server:
        assert answering(server, "her") == 1
