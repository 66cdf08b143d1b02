"""pyproject.toml's extras: all of requirements.txt, and each of them enough for what it is named
after.
"""

import ast
import importlib.metadata
import json
import subprocess
import sys

import pytest

from tests import client_program, toy_models
from tests.only_extra import ROOT, expanded, extras, name_of
from tests.serving_fixtures import serving
from tf_talkinghead.data import video

# What nobody needs who only calls avatars.
HEAVY = {"tensorflow", "tensorflow_serving", "keras", "dlib", "cv2", "av", "scipy", "apache_beam"}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The embedded server with the toy avatar "anna", version 1."""
    folder = tmp_path_factory.mktemp("models")
    toy_models.publish(folder, "anna", 1)
    with serving(models=str(folder)) as server:
        yield f"localhost:{server.port}"


def python(*arguments, code=0):
    """The last line that a fresh interpreter prints; its stderr where it ends with another code."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()[-1] if code == 0 else done.stderr


def test_requirements_are_all_extras():
    lines = [
        line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()
    ]
    assert {line for line in lines if line} == expanded("test")
    assert expanded("all") < expanded("test")
    for extra in extras():
        names = [name_of(line) for line in expanded(extra)]
        assert len(names) == len(set(names)), f"{extra}: two ranges for one package"


def test_the_heavy_packages_are_where_they_are_needed():
    assert {name_of(line) for line in expanded("client")} == {
        "grpcio", "numpy", "pillow", "protobuf",
    }  # fmt: skip
    assert not {"tensorflow", "keras"} & {name_of(line) for line in expanded("drive")}
    assert "apache-beam" not in {name_of(line) for line in expanded("serve")}


def test_the_client_needs_only_its_extra(address):
    report = json.loads(
        python("-m", "tests.only_extra", "client", "tests.client_program", address, "anna")
    )
    assert report["card"]["person"] == "anna" and report["jpeg_shape"] == [3, 8, 8, 3]
    # the toy's colour: its version, and the first landmark's x and y
    assert report["frames"] == [[[[1, 128, 128]] * 8] * 8] * 3
    assert not HEAVY & set(report["imported"]) and "grpc" in report["imported"]


def test_the_client_works_beside_the_generated_classes(address, capsys):
    """With TensorFlow Serving's stubs in one process: imported before it (here), and after it."""
    assert "tensorflow_serving.apis.predict_pb2" in sys.modules
    client_program.main(address, "anna")
    here = capsys.readouterr().out
    after = """
import sys
from tests import client_program
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
client_program.main(*sys.argv[1:])
"""
    for printed in (here, python("-c", after, address, "anna")):
        report = json.loads(printed)
        assert report["frames"][0][0][0] == [1, 128, 128]
        assert "tensorflow_serving" in report["imported"]


def test_drive_needs_only_its_extra(address, portrait, tmp_path):
    """Its own script, driven by a video of a face, so that landmarks, crops and H.264 are used."""
    video.write_video(tmp_path / "driver.mp4", [portrait[:300, 100:420]] * 2, 10)
    report = json.loads(
        python(
            *("-m", "tests.only_extra", "drive", "scripts", "drive", f"--server={address}"),
            *("--person=anna", f"--driver={tmp_path}/driver.mp4", f"--output={tmp_path}/a.mp4"),
            "--side_by_side",
        )
    )
    assert report["frames"] == 2 and report["faceless_frames"] == 0


def test_serve_needs_only_its_extra(tmp_path):
    toy_models.publish(tmp_path, "anna", 1)
    program = """
import runpy, sys
from tests.only_extra import Absent
sys.meta_path.insert(0, Absent("serve"))
import serving.models_config, serving.rest, serving.server
sys.argv = ["serve", "--write_config_only", f"--models={sys.argv[1]}"]
runpy.run_module("scripts.serve", run_name="__main__", alter_sys=True)
"""
    assert python("-c", program, str(tmp_path)).endswith("models.config: 1 models")


def test_train_brings_what_the_library_imports():
    """Every package that any module of the library or a script imports, inside functions too."""
    distributions = importlib.metadata.packages_distributions()
    missing = {}
    for path in [*(ROOT / "tf_talkinghead").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        extra = "studio" if path.parent.name == "studio" else "train"
        brought = {name_of(line) for line in expanded(extra)}
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            for module in {module.partition(".")[0] for module in modules}:
                packages = {name_of(package) for package in distributions.get(module, ())}
                if packages and not packages & brought:
                    missing.setdefault(module, []).append(path.name)
    assert not missing


def test_a_missing_package_is_one_line_that_names_the_extra():
    said = python("-m", "tests.only_extra", "client", "scripts", "drive", "--help", code=1)
    assert said == (
        "error: talkinghead drive needs the package that provides 'absl': "
        "pip install 'tf-talkinghead[drive]'\n"
    )
