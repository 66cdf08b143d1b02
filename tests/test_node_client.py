"""The Node example, written from .proto files alone, against both servers."""

import base64
import io
import json
import pathlib
import shutil
import subprocess
import time

import numpy as np
import PIL.Image
import pytest
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving import models_config
from tests import toy_models
from tests.real_server import RealServer, free_port
from tests.serving_fixtures import packed_strings, polling, serving

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


def publish(folder):
    """A models folder with version 3 of anna, and its models.config."""
    toy_models.publish(folder / "models", "anna", 3)
    models_config.update(folder / "models")
    return folder / "models"


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


def test_node_draws_frames_and_reports_errors(installed, tmp_path, server_kind):
    models = publish(tmp_path)
    with polling(server_kind, models) as address:
        made = run(installed, address, "anna", str(tmp_path / "frames"), "5")
        assert made.returncode == 0, made.stderr
        check_frames(tmp_path / "frames", 3)
        refused = run(installed, address, "nobody", str(tmp_path / "none"), "5")
        assert refused.returncode == 1
        assert "Servable not found for request: Latest(nobody)" in refused.stderr


def test_node_waits_for_a_server_that_is_starting(installed, tmp_path):
    models, port = publish(tmp_path), free_port()
    arguments = [f"localhost:{port}", "anna", str(tmp_path / "frames"), "5"]
    node = subprocess.Popen(
        ["node", str(installed / "avatar.js"), *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(1.0)  # it has been refused by then
        with serving(models=str(models), port=port):
            _, said = node.communicate(timeout=40)
    finally:
        node.kill()
    assert node.returncode == 0, said
    check_frames(tmp_path / "frames", 3)


def test_node_reads_strings_listed_and_packed(installed):
    values = [b"", b"x" * 300, b"\xff\x00" * 70000]
    packed = base64.b64encode(packed_strings(values).tensor_content).decode()
    code = (
        "const {strings} = require('./avatar.js');"
        "const shape = {dim: [{size: 3}]};"
        "const content = Buffer.from(require('fs').readFileSync(0, 'utf8'), 'base64');"
        "const hex = (list) => list.map((value) => value.toString('hex'));"
        "console.log(JSON.stringify([hex(strings({tensor_content: content, tensor_shape: shape})),"
        "  hex(strings({string_val: [Buffer.from('ab')], tensor_shape: {dim: [{size: 1}]}}))]));"
    )
    made = subprocess.run(
        ["node", "-e", code],
        cwd=installed,
        input=packed,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == [[value.hex() for value in values], [b"ab".hex()]]


def test_node_reads_what_the_real_server_packs(installed, tmp_path):
    models = publish(tmp_path)
    with RealServer(
        models, tmp_path / "server.log", enable_serialization_as_tensor_content="true"
    ) as server:
        made = run(installed, server.address, "anna", str(tmp_path / "frames"), "5")
    assert made.returncode == 0, made.stderr
    check_frames(tmp_path / "frames", 3)


LIST_FIELDS = """
const loaded = require('@grpc/proto-loader').loadSync('prediction_service.proto',
  {includeDirs: ['.'], keepCase: true});
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
