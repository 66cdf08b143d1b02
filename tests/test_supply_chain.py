"""The command that lists what is installed: SBOM, licences, known vulnerabilities."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.only_extra import ROOT

TOOLS = ("cyclonedx_py", "piplicenses", "pip_audit")


def run(out, **variables):
    return subprocess.run(
        ["bash", "scripts/supply_chain.sh", *out],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "AUDIT_SECONDS": "60", **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_it_lists_what_is_installed(tmp_path):
    if not all(importlib.util.find_spec(tool) for tool in TOOLS):
        pytest.skip("needs pip install 'tf-talkinghead[audit]'")
    done = run([str(tmp_path)])
    said = done.stdout.splitlines()
    assert len(said) == 3 and done.returncode in (0, 1), done.stderr
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {one["name"].lower(): one.get("version") for one in bill["components"]}
    licences = (tmp_path / "licences.md").read_text()
    for name in ("tensorflow", "keras", "grpcio", "numpy"):
        assert listed[name] == importlib.metadata.version(name)
        assert f"| {name} " in licences
    # Where the service has no data, which pip-audit takes for soundness, it says so.
    audited = [
        one
        for one in json.loads((tmp_path / "audit.json").read_text())["dependencies"]
        if "vulns" in one
    ] if (tmp_path / "audit.json").exists() else []  # fmt: skip
    assert said[-1].startswith("audit: not run" if not audited else "wrote ")


def test_it_says_what_it_needs(tmp_path):
    assert "usage: bash" in run([]).stderr
    lacking = tmp_path / "python"
    lacking.write_text("#!/bin/sh\nexit 1\n")
    lacking.chmod(0o755)
    done = run([str(tmp_path / "out")], PYTHON=str(lacking))
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert "cyclonedx-bom" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
