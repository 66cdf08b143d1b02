"""The quickstart end to end with untrained `tiny` weights, and what it refuses before it starts
anything.
"""

import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from tests.script_runner import ROOT, run_script
from tests.test_drive import frames_of
from tf_talkinghead.driving.contact_sheet import CELL
from tf_talkinghead.weights.store import empty, save_trained


@pytest.fixture(scope="module")
def weights(tiny, tmp_path_factory):
    return save_trained(empty(tiny), tmp_path_factory.mktemp("weights"))


def quickstart(weights, output):
    command = [
        sys.executable,
        "-m",
        "scripts.quickstart",
        f"--weights={weights}",
        f"--output={output}",
        "--steps=1",
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_one_command_leaves_a_film_a_sheet_and_a_model_in_one_folder(weights, tmp_path):
    # a space, as newcomers have in their paths
    done = quickstart(weights, tmp_path / "quick start")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "quick start"
    assert frames_of(folder / "talking_head.mp4") == (200, 32, 32)
    assert Image.open(folder / "contact_sheet.png").size == (8 * CELL, 4 * CELL)
    assert (folder / "models/collins/1/saved_model.pb").is_file()
    card = json.loads((folder / "models/collins/1/card.json").read_text())
    assert card["person"] == "collins" and card["ai_generated"]
    steps = re.findall(r"^ +[\d.]+ s  (.+)$", done.stdout, re.M)
    assert steps == ["personalise and publish", "start the server", "drive and film", "in all"]
    assert "$ python -m scripts.personalize" in done.stdout and "Next:" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"quick start"}
    port = int(re.search(r"listening on \S+:(\d+)", done.stdout)[1])
    with pytest.raises(OSError):  # the server left with it
        __import__("socket").create_connection(("localhost", port), timeout=2)


def test_refusals(tmp_path):
    (tmp_path / "file").write_text("")
    Image.new("RGB", (99, 99), (90, 90, 90)).save(tmp_path / "wall.png")
    missing, driver, output, no_weights = run_script(
        "quickstart",
        [f"--images={tmp_path}/none.jpg"],
        [f"--driver={tmp_path}/none.mp4"],
        [f"--output={tmp_path}/file"],
        [f"--weights={tmp_path}/no_run", f"--output={tmp_path}/out"],
    )
    assert missing.stderr == f"error: {tmp_path}/none.jpg: no such file\n"
    assert driver.stderr == f"error: {tmp_path}/none.mp4: no such file\n"
    assert output.stderr == f"error: --output={tmp_path}/file: not a folder\n"
    assert no_weights.code == 1 and "personalise and publish failed" in no_weights.stderr
