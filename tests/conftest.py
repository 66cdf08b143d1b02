"""Fixtures shared by all tests.

Nothing here needs a network, a GPU or footage that is not installed.
"""

import os
import pathlib

import pytest

from tf_talkinghead.config import preset


@pytest.fixture(scope="session")
def real_data():
    """The folder of real clips that TALKINGHEAD_REAL_DATA names.

    The test is skipped where it is absent.
    """
    folder = os.environ.get("TALKINGHEAD_REAL_DATA", "")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("needs real clips: set TALKINGHEAD_REAL_DATA to their folder")
    return pathlib.Path(folder)


@pytest.fixture(scope="session", autouse=True)
def own_signer(tmp_path_factory):
    """Makes the local signing certificates in a temporary folder, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def portrait():
    """Eileen Collins's portrait that ships with scikit-image, uint8 RGB [512, 512, 3]."""
    from skimage import data

    return data.astronaut()


@pytest.fixture(scope="session")
def tiny():
    """The 32-px preset."""
    return preset("tiny")


@pytest.fixture(params=["embedded", "tensorflow_model_server"])
def server_kind(request):
    """The server a test runs with, for `serving_fixtures.polling`: embedded, then real."""
    return request.param


@pytest.fixture(scope="module", params=["embedded", "tensorflow_model_server"])
def served(request, tmp_path_factory):
    """A running server as a `conformance.Served`: embedded, then real where there is one."""
    from tests import conformance  # imports TensorFlow

    with conformance.SERVERS[request.param](tmp_path_factory.mktemp("models")) as running:
        yield running


@pytest.fixture(scope="module")
def toy(served, request):
    """The name of a model named after the test file; versions 1 and 2 are stable and canary."""
    from tests.conformance import AVAILABLE

    name = request.module.__name__.rpartition(".")[2].removeprefix("test_serving_")
    served.publish(name, 1)
    served.publish(name, 2)
    served.configure(name, versions=[1, 2])
    served.wait_until(lambda: served.status(name) == {1: AVAILABLE, 2: AVAILABLE})
    served.configure(name, labels={"stable": 1, "canary": 2}, versions=[1, 2])
    return name
