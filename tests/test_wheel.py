"""The built wheel in new environments: the client alone, and the console command with all its
flags.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from scripts import listing
from tests import toy_models
from tests.only_extra import ROOT
from tests.serving_fixtures import serving

pytestmark = pytest.mark.slow


def run(*command, cwd="/"):
    """What a command prints; the test fails with its stderr where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's wheel, built from a copy of the sources by the build backend that it asks
    for.
    """
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    reached = subprocess.run(
        [*pip, "download", "-q", "--no-deps", "setuptools>=77", "-d", folder / "index"],
        capture_output=True,
        text=True,
    )
    if reached.returncode:
        pytest.skip(f"needs a package index: {reached.stderr.strip().splitlines()[-1]}")
    for name in ("tf_talkinghead", "serving", "scripts"):
        shutil.copytree(
            ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    run(*pip, "wheel", "-q", "--no-deps", "-w", folder, folder / "source")
    (built,) = folder.glob("tf_talkinghead-*.whl")
    return built


@pytest.fixture(scope="module")
def client_only(wheel, tmp_path_factory):
    """The Python of an empty environment after `pip install tf-talkinghead[client]`."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "-q", f"{wheel}[client]")
    return python


def test_the_client_calls_a_server_without_tensorflow(client_only, tmp_path):
    listed = json.loads(run(client_only, "-m", "pip", "list", "--format=json"))
    installed = {package["name"].lower() for package in listed}
    assert {"tf-talkinghead", "grpcio", "protobuf", "numpy", "pillow"} <= installed
    assert not [name for name in installed if name.startswith(("tensorflow", "keras"))]
    toy_models.publish(tmp_path, "anna", 1)
    with serving(models=str(tmp_path)) as server:
        printed = run(
            client_only, ROOT / "tests/client_program.py", f"localhost:{server.port}", "anna"
        )
    report = json.loads(printed)
    assert report["frames"] == [[[[1, 128, 128]] * 8] * 8] * 3
    assert report["jpeg_shape"] == [3, 8, 8, 3] and report["card"]["version"] == 1
    assert not {"tensorflow", "tensorflow_serving", "absl"} & set(report["imported"])


def test_the_command_names_the_extra_that_is_missing(client_only):
    command = client_only.parent / "talkinghead"
    helped = run(command, "--help")
    assert all(name in helped for name in listing.describe())
    done = subprocess.run([command, "drive", "--help"], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'tf-talkinghead[drive]'" in done.stderr


def test_the_console_command_has_every_script_with_its_flags(wheel, tmp_path):
    """The wheel without its dependencies, which come from this environment.

    Away from the checkout.
    """
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", wheel)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = tmp_path / "venv/bin/talkinghead"
    for name in listing.describe():
        expected = run(sys.executable, "-m", f"scripts.{name}", "--help", cwd=ROOT)
        helped = run(command, name, "--help", cwd=tmp_path)
        assert flags_of(helped) == flags_of(expected) and f"talkinghead {name} " in helped
    away = "import scripts, serving.client, tf_talkinghead; print(scripts.__file__)"
    assert str(tmp_path) in run(python, "-c", away, cwd=tmp_path)
    # data files travel too: the shipped weights are loaded from the wheel
    loaded = "from tf_talkinghead.weights.store import load_trained; load_trained('demo')"
    run(python, "-c", loaded, cwd=tmp_path)


def flags_of(text):
    """The help's flags without the path of the module that defines them."""
    return [line for line in text.partition("flags:")[2].splitlines() if line.startswith("  ")]
