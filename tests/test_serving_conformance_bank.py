"""Members of the bank keep their faces while versions come, go and are rolled back.

Servers as in test_serving_conformance.py.

In version V of the toy bank the vector of "cleo" is V / 10 and the generator is another one, so a
frame tells which version rendered (channel 0) and from which version's vector (channel 2): they
must always agree.
"""

import shutil
import threading

import numpy as np
import pytest

from serving.client import AvatarClient, AvatarError
from tests.conformance import AVAILABLE
from tests.toy_models import landmarks, level
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.bank_files import read_members, write_members

CLEO = {version: version / 10 for version in range(1, 10)}


class Bank:
    """A toy bank on a server; one a test, with its own folder."""

    def __init__(self, served, folder):
        self.served, self.folder = served, folder
        self.published = 0

    def publish(self, **options):
        """The next version on disk; the server loads it when it polls, or when told to."""
        self.published += 1
        members = {"cleo": CLEO[self.published], "dan": 1.0}
        self.served.publish(
            "bank", self.published, bank=True, members=members, models=self.folder.parent, **options
        )
        return self.published

    def configure(self, versions=None, labels=None):
        self.served.configure("bank", versions=versions, labels=labels, folder=self.folder)

    def wait_for(self, *versions):
        """Until exactly `versions` are loaded."""

        def loaded():
            return {v for v, state in self.served.status("bank").items() if state == AVAILABLE}

        self.served.wait_until(lambda: loaded() == set(versions))

    def client(self, **options):
        options = {"bank": self.folder, "jpeg": False, "timeout": 20, **options}
        return AvatarClient(self.served.address, "cleo", **options)


@pytest.fixture
def bank(served, request):
    name = request.node.name.partition("[")[0]
    made = Bank(served, served.models / name / "bank")
    yield made
    served.drop("bank")


def shown(client):
    """The version that rendered a frame, which must be the one its vector is from."""
    frame = client.render(landmarks(0.5, rows=2))
    version = int(frame[0, 0, 0, 0])
    assert (frame[..., 0] == version).all()
    assert (frame[..., 2] == level(np.float16(CLEO[version]))).all()
    return version


def test_members_share_a_model(bank):
    bank.publish()
    bank.configure()
    with bank.client() as cleo, AvatarClient(cleo.address, "dan", bank=bank.folder) as dan:
        assert shown(cleo) == 1
        assert (dan.render(landmarks(0.5))[..., 2] > 250).all()
        assert cleo.card() == {"person": "cleo", "bank_version": 1}
    with (
        AvatarClient(bank.served.address, "eve", bank=bank.folder) as nobody,
        pytest.raises(InputError, match="nobody called 'eve' in version 1 .* holds cleo, dan"),
    ):
        nobody.render(landmarks(0.5))


def test_a_bank_of_vectors_needs_its_folder(bank):
    bank.publish()
    bank.configure()
    with bank.client(bank=True) as client, pytest.raises(InputError, match="name MODELS/bank"):
        client.render(landmarks(0.5))


def test_stable_stays_on_the_older_generator(bank):
    """The fault this layout mends: version 2's vectors sent to version 1: another face, ok true."""
    bank.publish()
    bank.publish()
    bank.configure(versions=[1, 2])
    bank.wait_for(1, 2)
    bank.configure(versions=[1, 2], labels={"stable": 1, "canary": 2})
    with bank.client(label="stable") as stable, bank.client(label="canary") as canary:
        assert (shown(stable), shown(canary)) == (1, 2)
        assert stable.card()["bank_version"] == 1
    for version in (1, 2):
        with bank.client(version=version) as pinned:
            assert shown(pinned) == version
            assert pinned.card()["bank_version"] == version


def test_a_label_moved_forth_and_back_takes_living_clients_along(bank):
    bank.publish()
    bank.publish()
    bank.configure(versions=[1, 2])
    bank.wait_for(1, 2)
    bank.configure(versions=[1, 2], labels={"stable": 1})
    with bank.client(label="stable") as client:
        for version in (1, 2, 1):  # promoted, then rolled back
            bank.configure(versions=[1, 2], labels={"stable": version})
            assert shown(client) == version


def test_a_long_lived_client_across_publications(bank):
    """Renders all the time while versions are published and unloaded: no wrong frame, no error."""
    bank.publish()
    bank.configure()
    seen, errors, stop = [], [], threading.Event()

    def render():
        with bank.client(in_flight=1) as client:
            while not stop.is_set():
                try:
                    seen.append(shown(client))
                except Exception as error:
                    errors.append(error)
                    return

    threads = [threading.Thread(target=render) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        newest = bank.publish()
        bank.wait_for(newest)
        bank.served.wait_until(lambda newest=newest: newest in seen or errors)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors and set(seen) == {1, 2, 3, 4}


def test_a_client_between_two_publications(bank):
    """On disk there is a version that the server has not loaded: the older one still renders."""
    bank.publish()
    bank.configure(versions=[1])
    bank.wait_for(1)
    bank.publish()
    with bank.client() as client:
        assert shown(client) == 1
        bank.configure(versions=[2])
        bank.wait_for(2)
        assert shown(client) == 2


def test_a_new_client_while_the_server_still_renders_with_a_removed_version(bank):
    """With --keep_versions=1 a version leaves the folder before the server has the next one."""
    bank.publish()
    bank.configure(versions=[1])
    bank.wait_for(1)
    bank.publish()
    hidden = bank.folder.parent / ".removed"
    (bank.folder / "1" / "vectors.npz").rename(
        hidden
    )  # the model itself stays: a poll must not unload it
    with (
        bank.client(timeout=1.0) as client,
        pytest.raises(InputError, match=r"no vectors of version 1.*\(there: 2\)"),
    ):
        client.render(landmarks(0.5))
    with bank.client() as client:
        frames = []
        waiting = threading.Thread(target=lambda: frames.append(shown(client)))
        waiting.start()
        bank.configure(versions=[2])
        waiting.join()
        assert frames == [2]


def test_a_copied_file_is_good_for_its_version_only(bank, tmp_path):
    bank.publish()
    bank.configure(versions=[1])
    copy = tmp_path / "vectors.npz"
    shutil.copy(bank.folder / "1" / "vectors.npz", copy)
    with bank.client(bank=copy) as client:
        assert shown(client) == 1
        bank.publish()
        bank.configure(versions=[2])
        bank.wait_for(2)
        with pytest.raises(AvatarError, match="version 1 of the bank: fetch vectors.npz") as gone:
            shown(client)
        assert gone.value.code.name == "NOT_FOUND"
    with bank.client(bank=copy) as late, pytest.raises(AvatarError, match="fetch vectors.npz"):
        late.card()
    bank.configure(versions=[2], labels={"stable": 2})
    with (
        bank.client(bank=copy, label="stable") as client,
        pytest.raises(InputError, match="vectors for version 1 .* version 2, .*fetch vectors.npz"),
    ):
        shown(client)


def test_another_servers_folder_is_refused(bank):
    """Same version numbers, other generators: the case in which a number alone would not help."""
    bank.publish()
    bank.configure()
    foreign = bank.folder.parent / "foreign" / "bank" / "1"
    foreign.mkdir(parents=True)
    members = read_members(bank.folder / "1" / "vectors.npz")
    members.generator = "f" * 64
    write_members(foreign / "vectors.npz", members)
    with (
        bank.client(bank=foreign.parent) as client,
        pytest.raises(InputError, match="generator ffffffffffff, but the server renders"),
    ):
        shown(client)
