"""serving/envoy.yaml against Envoy's own messages, where they are installed, and what it lets in.

The messages are those of the package xds-protos, which brings top-level packages of common names;
so it is installed apart: pip install --no-deps --target DIR xds-protos, and XDS_PROTOS=DIR.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from serving import options
from serving.predict_protos import PREDICT

PATH = pathlib.Path(__file__).parents[1] / "serving" / "envoy.yaml"
PARSE = """
import importlib, json, sys
from google.protobuf import json_format
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

def load(tree):
    if isinstance(tree, dict):
        name = tree.get("@type", "").rpartition("/")[2]
        if name:  # its module, by the message's package
            package = name.rpartition(".")[0]
            folder = importlib.import_module(package)
            import pkgutil
            for module in pkgutil.iter_modules(folder.__path__):
                if module.name.endswith("_pb2"):
                    importlib.import_module(f"{package}.{module.name}")
        tree = list(tree.values())
    for inner in tree if isinstance(tree, list) else ():
        load(inner)

tree = json.load(sys.stdin)
load(tree)
print(len(json_format.ParseDict(tree, Bootstrap()).SerializeToString()))
"""


def config():
    return yaml.safe_load(PATH.read_text())


def parsed(tree):
    folder = os.environ.get("XDS_PROTOS")
    if not folder:
        pytest.skip("needs Envoy's messages: pip install --target DIR xds-protos; XDS_PROTOS=DIR")
    return subprocess.run(
        [sys.executable, "-c", PARSE],
        input=json.dumps(tree),
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
    )


def test_it_is_of_envoys_schema():
    done = parsed(config())
    assert done.returncode == 0 and int(done.stdout) > 500, done.stderr
    wrong = config()
    wrong["static_resources"]["listeners"][0]["filter_chain"] = []
    assert "filter_chain" in parsed(wrong).stderr


def manager():
    chain = config()["static_resources"]["listeners"][0]["filter_chains"][0]
    return chain, chain["filters"][0]["typed_config"]


def test_only_rendering_is_routed_and_no_caller_without_certificate_and_token():
    chain, http = manager()
    assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True
    routes = http["route_config"]["virtual_hosts"][0]["routes"]
    paths = [route["match"]["path"] for route in routes]
    assert PREDICT in paths and not any("ModelService" in path for path in paths)
    filters = [one["name"].rpartition(".")[2] for one in http["http_filters"]]
    assert filters == ["jwt_authn", "local_ratelimit", "buffer", "router"]
    assert http["http_filters"][0]["typed_config"]["rules"][0]["match"] == {"prefix": "/"}
    most = http["http_filters"][2]["typed_config"]["max_request_bytes"]
    assert 100 * 544 < most < options.MAX_MESSAGE_BYTES
