"""models.config: everyone in it, stable kept until promoted, read back by the proto TensorFlow
Serving uses.
"""

import shutil

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import models_config, versions
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import config_file


def publish(models, name, *numbers):
    for number in numbers:
        (models / name / str(number)).mkdir(parents=True)


def labels(config):
    return {model.name: dict(model.version_labels) for model in config.model_config_list.config}


def loaded(config):
    entries = config.model_config_list.config
    return {model.name: list(model.model_version_policy.specific.versions) for model in entries}


def test_everyone_published_and_nobody_else(tmp_path):
    publish(tmp_path, "anna", 1, 2)
    publish(tmp_path, "bank", 7)
    publish(tmp_path, ".work", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "cleo" / ".3").mkdir(parents=True)
    config = models_config.build(tmp_path)
    assert labels(config) == {
        "anna": {"stable": 2, "canary": 2},
        "bank": {"stable": 7, "canary": 7},
    }
    assert [model.base_path for model in config.model_config_list.config] == [
        str(tmp_path / "anna"),
        str(tmp_path / "bank"),
    ]
    versions.check_config(config)


def test_stable_stays_until_it_is_moved(tmp_path):
    publish(tmp_path, "anna", 1)
    publish(tmp_path, "bob", 1)
    before = models_config.build(tmp_path)
    publish(tmp_path, "anna", 2)
    publish(tmp_path, "bob", 2, 3)
    wanted = models_config.wanted_labels(tmp_path, before)
    assert wanted == {"anna": {"stable": 1, "canary": 2}, "bob": {"stable": 1, "canary": 3}}
    assert loaded(models_config.build(tmp_path, before)) == {"anna": [1, 2], "bob": [1, 3]}
    wanted = models_config.wanted_labels(tmp_path, before, promote=["anna"], pin={"bob": 2})
    assert wanted == {"anna": {"stable": 2, "canary": 2}, "bob": {"stable": 2, "canary": 3}}
    assert loaded(models_config.config_of(tmp_path, wanted)) == {"anna": [2], "bob": [2, 3]}
    wanted = models_config.wanted_labels(tmp_path, before, retire={"bob": 3})
    assert wanted["bob"] == {"stable": 1, "canary": 2}
    shutil.rmtree(tmp_path / "bob" / "1")  # stable's folder was pruned away
    wanted = models_config.wanted_labels(tmp_path, before, promote=["all"])
    assert wanted["bob"] == {"stable": 3, "canary": 3}


def test_without_a_server_to_ask_labels_stay_and_versions_load(tmp_path):
    publish(tmp_path, "anna", 1)
    _, config, waiting = models_config.update(tmp_path)
    assert labels(config)["anna"] == {"stable": 1, "canary": 1} and waiting == []
    publish(tmp_path, "anna", 2)
    for _ in range(2):
        _, config, waiting = models_config.update(tmp_path, promote=["anna"])
        assert labels(config)["anna"] == {"stable": 1, "canary": 1}
        assert loaded(config)["anna"] == [1, 2]
        assert waiting == [("anna", "canary", 2), ("anna", "stable", 2)]


def test_the_file_reads_back_and_shows_the_path_inside_a_container(tmp_path):
    publish(tmp_path, "anna", 1)
    path, config, _ = models_config.update(tmp_path, served_from="/models")
    text = path.read_text()
    assert text_format.Parse(text, model_server_config_pb2.ModelServerConfig()) == config
    assert 'base_path: "/models/anna"' in text
    assert config_file.remove_config_entry(tmp_path, "anna")
    assert labels(models_config.read_if_there(tmp_path)) == {}


def test_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match="absent: not a folder"):
        models_config.build(tmp_path / "absent")
    publish(tmp_path, "anna", 1)
    with pytest.raises(InputError, match="nobody called dora"):
        models_config.wanted_labels(tmp_path, promote=["dora"])
    with pytest.raises(InputError, match="anna: there is no version 7, only 1"):
        models_config.wanted_labels(tmp_path, pin={"anna": 7})
    (tmp_path / "models.config").write_text("nonsense")
    with pytest.raises(InputError, match="models.config: not a text ModelServerConfig"):
        models_config.update(tmp_path)


def policy(text):
    return text_format.Parse(text, model_server_config_pb2.ModelConfig()).model_version_policy


def test_version_policies():
    on_disk = {1: "", 2: "", 10: ""}
    aspired = lambda text: versions.aspired_versions(policy(text), on_disk)
    assert aspired("") == {10}
    assert aspired("model_version_policy { latest { num_versions: 2 } }") == {2, 10}
    assert aspired("model_version_policy { all { } }") == {1, 2, 10}
    assert aspired("model_version_policy { specific { versions: 1 versions: 3 } }") == {1}
    assert versions.aspired_versions(policy(""), {}) == set()


def test_versions_on_disk_are_plain_integers(tmp_path):
    for name in ("1", "12", ".13", "14a", "v15", "-1", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "16").write_text("a file")
    assert set(versions.versions_on_disk(tmp_path)) == {1, 12}
    assert versions.versions_on_disk(tmp_path / "absent") == {}
