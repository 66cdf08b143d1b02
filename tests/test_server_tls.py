"""TLS and mutual TLS of the embedded server, its client, drive, rollout and the Node client, with
certificates made here.
"""

import json
import os
import subprocess

import grpc
import numpy as np
import pytest

from serving import rollout
from serving.client import AvatarClient, AvatarError, Tls
from serving.tls import VARIABLES, from_environment
from tests import toy_models
from tests.certificates import pem_pair
from tests.face_points import COLLINS
from tests.script_runner import run_script
from tests.serving_fixtures import serving
from tests.test_node_client import installed  # noqa: F401  (a fixture)
from tf_talkinghead.driving import motion_file
from tf_talkinghead.errors import InputError

Code = grpc.StatusCode
REFUSED = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A folder of pairs: the authority's, a server's and a caller's, and those to be refused."""
    folder = tmp_path_factory.mktemp("pems")
    authority, other = pem_pair(folder, "authority"), pem_pair(folder, "other")
    pem_pair(folder, "server", authority)
    pem_pair(folder, "expired_server", authority, days=(-9, -1))
    pem_pair(folder, "named_server", authority, host="avatars.example")
    pem_pair(folder, "client", authority)
    pem_pair(folder, "expired", authority, days=(-9, -1))
    pem_pair(folder, "early", authority, days=(1, 9))
    pem_pair(folder, "stranger", other)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    models = tmp_path_factory.mktemp("served") / "models"
    toy_models.publish(models, "anna", 1)
    return models


def ssl_config(pems, folder, server="server", mutual=True):
    """The file of --ssl_config_file, as serving/ssl.config.template says."""
    quoted = lambda name: '"' + (pems / name).read_text().replace("\n", "\\n") + '"'
    path = folder / f"{server}-{mutual}.config"
    path.write_text(
        f"server_key: {quoted(server + '.key')} server_cert: {quoted(server + '.crt')}"
        f" custom_ca: {quoted('authority.crt')} client_verify: {str(mutual).lower()}"
    )
    return str(path)


@pytest.fixture(scope="module")
def mutual(models, pems, tmp_path_factory):
    """The address of a server that lets in whom the authority has signed."""
    config = ssl_config(pems, tmp_path_factory.mktemp("config"))
    with serving(models=str(models), ssl_config_file=config) as server:
        yield f"localhost:{server.port}"


def tls_of(pems, caller=None, ca="authority"):
    pair = (str(pems / f"{caller}.key"), str(pems / f"{caller}.crt")) if caller else ("", "")
    return Tls(str(pems / f"{ca}.crt"), *pair)


def environment_of(pems, caller=None):
    tls = tls_of(pems, caller)
    return {name: getattr(tls, field) for field, name in VARIABLES.items() if getattr(tls, field)}


def person_on(address, tls, seconds=10.0):
    with AvatarClient(address, "anna", tls=tls, timeout=seconds) as avatar:
        return avatar.card()["person"]


def test_without_client_verify_any_caller_that_trusts_the_authority_is_served(
    models, pems, tmp_path
):
    config = ssl_config(pems, tmp_path, mutual=False)
    with serving(models=str(models), ssl_config_file=config) as server:
        address = f"localhost:{server.port}"
        assert person_on(address, tls_of(pems)) == "anna"
        for tls in (None, tls_of(pems, ca="other")):
            with pytest.raises(AvatarError) as error:
                person_on(address, tls, seconds=0.5)
            assert error.value.code in REFUSED


@pytest.mark.parametrize("caller", ["client", None, "stranger", "expired", "early"])
def test_only_the_authoritys_own_are_let_in(mutual, pems, caller):
    if caller == "client":
        assert person_on(mutual, tls_of(pems, caller)) == "anna"
        return
    with pytest.raises(AvatarError) as error:
        person_on(mutual, tls_of(pems, caller), seconds=0.5)
    assert error.value.code in REFUSED


def test_a_caller_refuses_a_server_that_is_expired_or_another_host(models, pems, tmp_path):
    known = tls_of(pems, "client")
    for server_pair, named in (("expired_server", ""), ("named_server", "avatars.example")):
        config = ssl_config(pems, tmp_path, server_pair)
        with serving(models=str(models), ssl_config_file=config) as server:
            address = f"localhost:{server.port}"
            with pytest.raises(AvatarError) as error:
                person_on(address, known, seconds=0.5)
            assert error.value.code in REFUSED
            if named:
                tls = Tls(known.ca, known.key, known.certificate, named)
                assert person_on(address, tls) == "anna"


def test_environment_names_the_files(mutual, pems, monkeypatch):
    assert from_environment({}) is None
    with pytest.raises(InputError, match="TALKINGHEAD_TLS_CA is not set"):
        from_environment({"TALKINGHEAD_TLS_KEY": "x"})
    for name, value in environment_of(pems, "client").items():
        monkeypatch.setenv(name, value)
    assert person_on(mutual, None) == "anna"
    with rollout.Servers([mutual]) as servers:
        assert all(state.loaded == {1} for state in servers.states("anna", {}))


def test_unusable_files_are_one_line(pems, tmp_path):
    (tmp_path / "text.pem").write_text("hello")
    for tls, word in (
        (Tls(str(tmp_path / "none.pem")), "none.pem"),
        (Tls(str(tmp_path / "text.pem")), "PEM"),
        (Tls(str(pems / "authority.crt"), key=str(pems / "client.key")), "certificate"),
    ):
        with pytest.raises(InputError, match=word):
            AvatarClient("localhost:1", "anna", tls=tls)


def test_drive_takes_flags(mutual, pems, tmp_path):
    motion = motion_file.Motion(
        np.arange(6) / 25, np.tile(motion_file._REST, (6, 1)), np.stack([COLLINS] * 6), COLLINS
    )
    motion_file.write_motion_file(tmp_path / "motion.json", motion)
    flags = [
        f"--server={mutual}", "--person=anna", f"--driver={tmp_path / 'motion.json'}", "--nosign",
        "--adapt=none", "--timeout=1", f"--tls_ca={pems / 'authority.crt'}",
    ]  # fmt: skip
    own = [f"--tls_key={pems / 'client.key'}", f"--tls_cert={pems / 'client.crt'}"]
    refused, driven = run_script(
        "drive",
        [*flags, f"--output={tmp_path / 'a.mp4'}"],
        [*flags, *own, "--timeout=20", f"--output={tmp_path / 'b.mp4'}"],
    )
    assert refused.code == 1 and refused.stderr.splitlines()[-1].startswith("error: anna at ")
    assert driven.code == 0, driven.stderr
    assert json.loads(driven.stdout.splitlines()[-1])["frames"] == 6


def test_node_client_takes_the_environment(mutual, pems, installed, tmp_path):
    command = ["node", str(installed / "avatar.js"), mutual, "anna", str(tmp_path / "out"), "2"]
    ended = {
        caller: subprocess.run(
            command,
            env={**os.environ, **environment_of(pems, caller), "TALKINGHEAD_TIMEOUT": seconds},
            capture_output=True,
            text=True,
            timeout=60,
        )
        for caller, seconds in (("client", "30"), ("stranger", "1"))
    }
    assert ended["client"].returncode == 0, ended["client"].stderr
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 2
    assert ended["stranger"].returncode == 1 and ended["stranger"].stderr.startswith("error: ")
