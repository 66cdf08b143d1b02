"""scripts.drive without a driver, with strengths, saved motions, paste-back; and its refusals.

A guided avatar of random weights, made of the portrait as `personalize` makes one.
"""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import wave

import numpy as np
import pytest
from PIL import Image

from tests.random_avatars import random_guided_avatar
from tests.script_runner import ROOT, run_script
from tests.serving_fixtures import serving
from tests.test_drive import frames_of
from tf_talkinghead.data import video
from tf_talkinghead.driving.motion_file import read_motion_file
from tf_talkinghead.export import store
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.files import sha256

CSV = "time,jaw,yaw,gaze_x\n0,0,0,0\n0.5,0.2,8,0.2\n1,0,0,0\n"


@pytest.fixture(scope="module")
def models(portrait, tmp_path_factory):
    """ "ann" with a crop in her card and the photo in her work folder; "bob" without."""
    folder = tmp_path_factory.mktemp("models")
    ground = store.work_dir(folder, "ann") / "ground.png"
    ground.parent.mkdir(parents=True)
    Image.fromarray(portrait).save(ground)
    crop = {"x": 136, "y": 40, "side": 176, "rotation": 0, "width": 512, "height": 512}
    crop["sha256"] = sha256(ground.read_bytes())
    avatar = random_guided_avatar()
    export_person(avatar, folder, "bob")
    avatar.facts = dataclasses.replace(avatar.facts, crop=crop)
    export_person(avatar, folder, "ann")
    return folder


def last_line(result):
    assert result.code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_expressions_motions_and_paste_back(models, portrait, tmp_path):
    (tmp_path / "talk.csv").write_text(CSV)
    (tmp_path / "wide.csv").write_text("time,jaw\n0,0\n1,9\n")
    Image.fromarray(portrait).save(tmp_path / "photo.png", compress_level=1)  # other bytes
    video.write_video(tmp_path / "clip.mp4", [portrait] * 6, 10)
    with serving(models=str(models)) as server:
        common = [f"--server=localhost:{server.port}", "--person=ann"]

        def drive(name, *flags):
            return [*common, *flags, f"--output={tmp_path}/{name}.mp4"]

        films = {
            "talk": drive("talk", f"--expression={tmp_path}/talk.csv", "--fps=10"),
            "clamped": drive("clamped", f"--expression={tmp_path}/wide.csv", "--fps=4"),
            "saved": drive(
                "saved", f"--driver={tmp_path}/clip.mp4", f"--save_motion={tmp_path}/m.json",
                "--face=left", "--neutral=0.2", "--head_still", "--lips=1.5",
            ),
            "replayed": drive("replayed", f"--driver={tmp_path}/m.json", "--eyes=0", "--nogaze"),
            "pasted": drive(
                "pasted", "--driver=scripted", "--fps=2", "--paste_back", f"--models={models}"
            ),
            "warned": drive(
                "warned", f"--expression={tmp_path}/talk.csv", "--fps=4", "--paste_back",
                f"--ground={tmp_path}/photo.png", f"--save_motion={tmp_path}/again.csv",
            ),
        }  # fmt: skip
        bad = {
            "--lips: expected a strength from 0 to 1.5, got 2.0": ["--lips=2"],
            "--pose: expected a strength": ["--pose=-0.1"],
            "--brows: expected a strength": ["--brows=nan"],
            "--head_still is --pose=0": ["--head_still", "--pose=0.5"],
            "one of --driver and --expression": [f"--expression={tmp_path}/talk.csv"],
            "--save_motion=m.txt: expected a .json or .csv": ["--save_motion=m.txt"],
            "--face needs a driver with images": ["--face=left"],
            "--neutral needs a driver with images": ["--neutral=1"],
            "--ground needs --paste_back": [f"--ground={tmp_path}/photo.png"],
            "--paste_back needs --ground=PICTURE": ["--paste_back"],
            "--models=": ["--paste_back", f"--models={tmp_path}"],
            "--ground=no.png: no such file": ["--paste_back", "--ground=no.png"],
            "--ground: expected a picture of 512 x 512": [
                "--paste_back", f"--ground={tmp_path}/small.png",
            ],
            "--paste_back: the card of bob": ["--paste_back", "--person=bob"],
            "--side_by_side cannot be combined with": [],
        }  # fmt: skip
        Image.fromarray(portrait[:200]).save(tmp_path / "small.png")
        refusals = {
            said: [*common, "--driver=scripted", f"--output={tmp_path}/bad.mp4", *flags]
            for said, flags in bad.items()
        }
        clip = [*common, f"--driver={tmp_path}/clip.mp4", f"--output={tmp_path}/bad.mp4"]
        refusals["--side_by_side cannot be combined with"] = [
            *clip,
            "--side_by_side",
            "--paste_back",
        ]
        refusals["--face=huge: expected largest, left"] = [*clip, "--face=huge"]
        refusals["--face=2: the driver shows 1 faces"] = [*clip, "--face=2"]
        refusals["--neutral=7: expected 0 to 0.50 seconds"] = [*clip, "--neutral=7"]
        for name, text, said in (
            ("schema.json", '{"schema": 9}', "expected schema 1 or 2, got 9"),
            ("empty.csv", "", "the file is empty"),
            ("nan.csv", "time,jaw\n0,nan\n", "jaw: expected a finite number"),
            ("points.json", json.dumps({
                "schema": 1, "names": ["jaw"], "times": [0], "numbers": [[0]],
                "landmarks": [[[0.5, 0.5]] * 67],
            }), "expected [1, 68 or 70, 2], got [1, 67, 2]"),
        ):  # fmt: skip
            (tmp_path / name).write_text(text)
            flag = f"--driver={tmp_path}/{name}"
            refusals[said] = [*common, flag, f"--output={tmp_path}/bad.mp4"]
        made = run_script("drive", *films.values(), *refusals.values())
    made, refused = dict(zip(films, made)), made[len(films) :]
    assert last_line(made["talk"])["frames"] == 11 and last_line(made["talk"])["gaze"]
    assert frames_of(tmp_path / "talk.mp4") == (11, 64, 64)
    assert "warning: expression clamped: jaw" in made["clamped"].stderr
    assert last_line(made["saved"])["frames"] == 6
    saved = read_motion_file(tmp_path / "m.json")
    assert saved.landmarks.shape == (6, 70, 2) and saved.neutral.shape == (68, 2)
    assert last_line(made["replayed"])["frames"] == 6
    assert frames_of(tmp_path / "pasted.mp4") == (16, 512, 512)
    assert "warning: --ground=" in made["warned"].stderr
    assert frames_of(tmp_path / "warned.mp4") == (5, 512, 512)
    assert read_motion_file(tmp_path / "again.csv").numbers.shape == (3, 16)
    outside = next(iter(video.read_video(tmp_path / "pasted.mp4").frames))[300:].astype(int)
    assert np.abs(outside - portrait[300:]).mean() < 4  # H.264 alone
    for said, result in zip(refusals, refused, strict=True):
        last = result.stderr.strip().splitlines()[-1]
        assert result.code == 1 and last.startswith("error: ") and said in last, (said, result)
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "bad.mp4").exists()


def test_the_readmes_example_opens_the_jaw_with_the_loudness(tmp_path):
    """One second of silence, one of noise, one of silence."""
    (example,) = re.findall(
        r"```python\n(import csv.*?)```", (ROOT / "docs" / "driving.md").read_text(), re.DOTALL
    )
    assert len(example.splitlines()) <= 12
    loud = np.random.default_rng(0).uniform(-1, 1, 16000) * 20000
    sound = np.concatenate([np.zeros(16000), loud, np.zeros(16000)]).astype(np.int16)
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(sound.tobytes())
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True, timeout=60)
    motion = read_motion_file(pathlib.Path(tmp_path) / "voice.csv")
    jaw = np.interp([0.5, 1.5, 2.5], motion.times, motion.numbers[:, 10])
    assert jaw[0] < 0.02 and jaw[2] < 0.02 and 0.1 < jaw[1] < 0.4
    assert len(motion.times) == 75
