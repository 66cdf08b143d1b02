"""What `personalize` and `export` refuse at the command line: one line that says what was wrong,
exit code 1, nothing made.
"""

import json

import numpy as np
import pytest
from PIL import Image

from tests.script_runner import run_scripts
from tf_talkinghead.weights.store import empty, save_trained


@pytest.fixture(scope="module")
def files(tmp_path_factory, portrait, tiny):
    """Pictures and weights of every bad kind, one good photo and good weights."""
    root = tmp_path_factory.mktemp("bad")
    Image.fromarray(portrait).save(root / "photo.png")
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(root / "blank.png")
    Image.fromarray(np.concatenate([portrait[:320, 64:384]] * 2, axis=1)).save(root / "two.png")
    (root / "text.jpg").write_text("no picture")
    (root / "folder").mkdir()
    save_trained(empty(tiny), root / "weights")
    weights = save_trained(empty(tiny), root / "old")
    config = json.loads((weights / "config.json").read_text())
    (weights / "config.json").write_text(json.dumps({**config, "schema": 99}))
    return root


def test_each_refusal_is_one_line(files, tmp_path):
    models, photo = tmp_path / "models", f"--images={files}/photo.png"
    weights, here = f"--weights={files}/weights", f"--models={models}"
    ann = [weights, "--person=ann", here]
    personalize = {
        "blank.png: no face": [*ann, f"--images={files}/blank.png"],
        "two.png: 2 faces; crop to one person, or say --force": [*ann, f"--images={files}/two.png"],
        "text.jpg: unreadable": [*ann, f"--images={files}/text.jpg"],
        "gone.png: no such file": [*ann, f"--images={files}/gone.png"],
        "folder: no photos or videos in this folder": [*ann, f"--images={files}/folder"],
        "--shots=3: only 1 usable image": [*ann, photo, "--shots=3"],
        "--shots=0: expected 1 or more": [*ann, photo, "--shots=0"],
        "the name is reserved": [weights, "--person=bank", here, photo],
        "expected 1 to 64 letters": [weights, "--person=../ann", here, photo],
        "these weights are of another version of this project": [
            f"--weights={files}/old",
            "--person=ann",
            here,
            photo,
        ],
        "nowhere": [f"--weights={files}/nowhere", "--person=ann", here, photo],
    }
    export = {
        "expected exactly one of --person=NAME, --bank and --delete=NAME": [here],
        "--bank needs --weights": [here, "--bank"],
        "ann: ": [here, "--person=ann"],
        "--keep_versions=0": [here, "--person=ann", "--keep_versions=0"],
        "int8": [here, "--person=ann", "--dtype=int8"],
        "unexpected argument 'ann'": [here, "--bank", "ann"],
        "nobody of that name": [here, "--delete=ann"],
    }
    ended = run_scripts(
        {"personalize": list(personalize.values()), "export": list(export.values())}
    )
    for cases, results in ((personalize, ended["personalize"]), (export, ended["export"])):
        for words, result in zip(cases, results, strict=True):
            last = result.stderr.strip().splitlines()[-1]
            refused = result.code == 1 and last.startswith("error: ") and words in last
            assert refused, (words, result)
            assert "Traceback" not in result.stderr
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == []
