"""A bank of guided avatars, served; servers as in test_serving_conformance.py."""

import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from serving import models_config
from serving.client import AvatarClient, AvatarError
from tests.conformance import AVAILABLE, Code, refusal
from tests.face_points import COLLINS
from tests.random_avatars import random_guided_people, weights_sha256
from tests.script_runner import run_script
from tests.serving_fixtures import polling
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.guided_bank import export_guided_bank
from tf_talkinghead.faces.geometry import turned
from tf_talkinghead.personalization.avatar import render

PEOPLE = random_guided_people()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Models with versions 1, of ann and bob, and 2, of everybody, in float16. Only read."""
    models = tmp_path_factory.mktemp("guided")
    config, weights = PEOPLE["ann"].config, PEOPLE["ann"].weights
    for names in (("ann", "bob"), ("ann", "bob", "cem")):
        members = {name: PEOPLE[name] for name in names}
        export_guided_bank(config, weights, weights_sha256(), models, members)
    return models


@pytest.fixture(scope="module")
def bank(served, folder):
    """The server, with both versions loaded."""
    served.configure("bank", folder=folder / "bank", versions=[1, 2])
    served.wait_until(lambda: served.status("bank") == {1: AVAILABLE, 2: AVAILABLE}, seconds=120)
    yield served
    served.drop("bank")


def motion(count, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.004, (count, 68, 2))
    return np.float32([turned(COLLINS, yaw=yaw) for yaw in np.linspace(-12, 12, count)] + noise)


def client_of(served, person, **options):
    return AvatarClient(served.address, person, bank=True, **{"jpeg": False, **options})


def worst(a, b):
    return int(np.abs(np.int64(a) - np.int64(b)).max())


def test_members_are_rendered_as_they_were_made_and_the_card_is_theirs(bank, folder):
    for name, avatar in PEOPLE.items():
        with client_of(bank, name) as client:
            assert worst(client.render(motion(5)), render(avatar, motion(5))) <= 1
            card = client.card()
        assert card["person"] == name and "members" not in card
        assert "photographs" in card["photo_notice"]
        np.testing.assert_allclose(
            card["reference_landmarks"], avatar.reference_landmarks, atol=1e-5
        )
    with client_of(bank, "cem", jpeg=True) as client:
        assert client.render(motion(2)).shape == (2, 64, 64, 3)
    # The folder, as a bank of direct avatars needs it, does as well.
    with AvatarClient(bank.address, "bob", bank=folder / "bank", jpeg=False) as client:
        assert worst(client.render(motion(1)), render(PEOPLE["bob"], motion(1))) <= 1


def test_rows_of_different_people_in_one_request(bank):
    names, landmarks = ["ann", "bob", "cem", "bob"], motion(5)
    outputs = bank.predict("bank", {"landmarks": landmarks, "member": np.int32([0, 1, 2, 1, 7])})
    frames = tf.make_ndarray(outputs.outputs["frames"])
    assert tf.make_ndarray(outputs.outputs["ok"]).tolist() == [True] * 4 + [False]
    for row, name in enumerate(names):
        assert worst(frames[row], render(PEOPLE[name], landmarks[row : row + 1])[0]) <= 1
    with refusal(Code.INVALID_ARGUMENT):
        bank.predict("bank", {"landmarks": landmarks})


def test_any_version_knows_a_member_by_the_same_row(bank):
    for version in (1, 2):
        with client_of(bank, "bob", version=version) as client:
            assert worst(client.render(motion(2)), render(PEOPLE["bob"], motion(2))) <= 1
    with (
        client_of(bank, "cem", version=1) as client,
        pytest.raises(InputError, match="nobody called 'cem' in version 1 .* ann, bob"),
    ):
        client.render(motion(1))


def test_landmarks_that_are_no_face_are_told(bank):
    far = motion(1) + 40.0
    with client_of(bank, "ann") as client, pytest.raises(AvatarError, match="landmarks of row 0"):
        client.render(far)


def test_a_person_is_deleted_while_others_are_called_by_label(server_kind, folder, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(folder / "bank", models / "bank")
    models_config.update(models, pin={"bank": 1})
    errors, count, stop = [], [0], threading.Event()
    with polling(server_kind, models) as address:

        def call():
            with AvatarClient(address, "bob", bank=True, label="stable", jpeg=False) as client:
                expected = render(PEOPLE["bob"], motion(1))
                while not stop.is_set():
                    try:
                        assert worst(client.render(motion(1)), expected) <= 1
                        count[0] += 1
                    except Exception as error:
                        errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        (ended,) = run_script(
            "export", [f"--models={models}", "--delete=ann", f"--server={address}"]
        )
        stop.set()
        thread.join()
        assert ended.code == 0, ended.stderr
        assert not errors and count[0]
        with (
            AvatarClient(address, "ann", bank=True, label="stable") as client,
            pytest.raises(InputError, match="nobody called 'ann' in version 3"),
        ):
            client.render(motion(1))
    assert sorted(path.name for path in (models / "bank").glob("[0-9]*")) == ["3"]
    (entry,) = models_config.read_if_there(models).model_config_list.config
    assert dict(entry.version_labels) == {"stable": 3, "canary": 3}
