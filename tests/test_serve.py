"""`python -m scripts.serve` as a user starts it."""

import signal
import subprocess
import sys
import threading

import pytest

from serving.client import AvatarClient
from tests import toy_models
from tests.script_runner import run_script
from tests.toy_models import landmarks


@pytest.fixture
def models(tmp_path):
    toy_models.publish(tmp_path / "models", "anna", 1)
    return tmp_path / "models"


def test_it_listens_serves_drains_and_ends(models):
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.serve", f"--models={models}", "--port=0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on localhost:")
        with AvatarClient(line.split()[-1], "anna") as avatar:
            assert avatar.render(landmarks(0.5, rows=30)).shape[0] == 30
            drawn = []
            thread = threading.Thread(
                target=lambda: drawn.extend(avatar.render(landmarks(0.5, rows=8)))
            )
            thread.start()
            thread.join()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0 and len(drawn) == 8
        said = process.stderr.read()
        assert (
            "Loaded anna version 1" in said
            and "Unloaded anna version 1" in said
            and "Traceback" not in said
        )
    finally:
        process.kill()


def test_the_config_is_written_and_mistakes_are_one_line(models, tmp_path):
    written, *refused = run_script(
        "serve",
        [f"--models={models}", "--write_config_only", "--served_from=/models"],
        [f"--models={tmp_path / 'absent'}"],
        ["--write_config_only"],
        [f"--models={models}", "--promote=anna"],
        [f"--models={models}", "--write_config_only", "--promote=dora"],
        [f"--models={models}", "--write_config_only", "--pin=anna"],
        ["--models=a", "--model_base_path=b"],
        ["somewhere"],
    )
    assert written.code == 0 and "models.config: 1 models" in written.stdout
    assert 'base_path: "/models/anna"' in (models / "models.config").read_text()
    for result in refused:
        assert result.code == 1 and result.stdout == ""
        assert len(result.stderr.strip().splitlines()) == 1 and result.stderr.startswith(
            "error: "
        ), result.stderr
