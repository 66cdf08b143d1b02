"""The Node example, written from .proto files alone, against the embedded server or the real one."""

import io
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import PIL.Image
import pytest
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from tests import toy_models
from tests.serving_fixtures import serving

NODE = pathlib.Path(__file__).parents[1] / "serving" / "node"
PUBLIC = {
    "tensorflow.serving.ModelSpec": model_pb2.ModelSpec,
    "tensorflow.serving.PredictRequest": predict_pb2.PredictRequest,
    "tensorflow.serving.PredictResponse": predict_pb2.PredictResponse,
    "tensorflow.TensorProto": tensor_pb2.TensorProto,
    "tensorflow.TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy of the example with its packages installed."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node and npm on this machine")
    folder = tmp_path_factory.mktemp("node") / "client"
    shutil.copytree(NODE, folder, ignore=shutil.ignore_patterns("node_modules"))
    made = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(
            f"npm cannot install the packages here: {made.stderr.strip().splitlines()[-1:]}"
        )
    return folder


def run(folder, *arguments):
    return subprocess.run(
        ["node", str(folder / "avatar.js"), *arguments], capture_output=True, text=True, timeout=60
    )


def check_frames(folder, version):
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{index:04d}.jpg" for index in range(5)]
    for index, file in enumerate(files):
        frame = np.asarray(PIL.Image.open(io.BytesIO(file.read_bytes())))
        y = 0.6 + 0.02 * np.sin(2 * np.pi * index / 25)
        np.testing.assert_allclose(frame[0, 0], [version, 255 * 0.4, 255 * y], atol=3)


def test_node_draws_frames_and_reports_errors(installed, tmp_path):
    models = tmp_path / "models"
    toy_models.publish(models, "anna", 3)
    with serving(models=str(models)) as server:
        made = run(installed, f"localhost:{server.port}", "anna", str(tmp_path / "frames"), "5")
        assert made.returncode == 0, made.stderr
        check_frames(tmp_path / "frames", 3)
        refused = run(installed, f"localhost:{server.port}", "nobody", str(tmp_path / "none"), "5")
        assert (
            refused.returncode == 1
            and "Servable not found for request: Latest(nobody)" in refused.stderr
        )


def test_node_against_the_real_server(installed, tmp_path):
    address = os.environ.get("TF_SERVING_ADDRESS")
    if not address:
        pytest.skip("no real tensorflow_model_server: TF_SERVING_ADDRESS is not set")
    made = run(
        installed,
        address,
        os.environ.get("TF_SERVING_PERSON", "toy"),
        str(tmp_path / "frames"),
        "5",
    )
    assert made.returncode == 0, made.stderr
    assert len(list((tmp_path / "frames").iterdir())) == 5


LIST_FIELDS = """
const loaded = require('@grpc/proto-loader').loadSync('prediction_service.proto', {includeDirs: ['.'], keepCase: true});
const fields = {};
for (const [name, entry] of Object.entries(loaded))
  if (entry.type && entry.type.field)
    fields[name] = Object.fromEntries(entry.type.field.map((field) => [field.name, field.number]));
console.log(JSON.stringify(fields));
"""


def test_the_proto_files_state_the_public_names_and_numbers(installed):
    made = subprocess.run(
        ["node", "-e", LIST_FIELDS], cwd=installed, capture_output=True, text=True, timeout=60
    )
    assert made.returncode == 0, made.stderr
    checked = set()
    for name, fields in json.loads(made.stdout).items():
        public = PUBLIC.get(name)
        if public is not None:
            checked.add(name)
            numbers = {field.name: field.number for field in public.DESCRIPTOR.fields}
            assert fields.items() <= numbers.items(), name
    assert checked == set(PUBLIC)
