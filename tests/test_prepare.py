"""Preparation end to end: what comes out, rejections, kill -9, workers, growth."""

import csv
import dataclasses
import filecmp
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from scripts import prepare_dataset  # noqa: F401  (its flags and imports must load)
from tests.prepare_footage import write_footage
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import clip_worker
from tf_talkinghead.data.clip_process import ClipProcess
from tf_talkinghead.data.clip_worker import Job
from tf_talkinghead.data.dataset import load_dataset
from tf_talkinghead.data.listing import Clip
from tf_talkinghead.data.prepare import prepare
from tf_talkinghead.errors import InputError

CONFIG = PreparationConfig(size=48, max_frames=4, clips_per_shard=2)
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def footage(tmp_path_factory, portrait):
    return write_footage(tmp_path_factory.mktemp("footage"), portrait)


def _run(root, output, workers=1, limit=None, **changes):
    """The script in a process of its own: a running Popen."""
    command = [
        sys.executable,
        "-m",
        "scripts.prepare_dataset",
        f"--input={root}",
        f"--output={output}",
        f"--workers={workers}",
    ]
    flags = {
        "size": CONFIG.size,
        "max_frames": CONFIG.max_frames,
        "clips_per_shard": CONFIG.clips_per_shard,
        **changes,
    }
    command += [f"--{name}={value}" for name, value in flags.items()]

    def limited():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,
        start_new_session=True,
    )


def _assert_same_folder(one, other):
    names = sorted(os.listdir(one))
    assert names == sorted(os.listdir(other))
    _, mismatch, errors = filecmp.cmpfiles(one, other, names, shallow=False)
    assert not mismatch and not errors


@pytest.fixture(scope="module")
def undisturbed(footage, tmp_path_factory):
    """The dataset of all footage by two Beam processes, and what the script said."""
    output = tmp_path_factory.mktemp("undisturbed")
    process = _run(footage, output, workers=2)
    said, complained = process.communicate()
    assert process.returncode == 0, complained
    assert (
        "4 clips, 13 frames, 3 people" in said
        and "clips: 100%" in complained
        and "Traceback" not in complained
    )
    return output


def test_what_comes_out(undisturbed, footage, portrait):
    assert sorted(os.listdir(undisturbed)) == [
        "clips-00000-of-00002.tfrecord",
        "clips-00001-of-00002.tfrecord",
        "dataset.json",
        "preview.png",
        "rejected.csv",
    ]
    dataset = load_dataset(undisturbed)
    assert dataset.videos == [
        ("anna", "anna/1.mp4"),
        ("anna", "anna/2.mkv"),
        ("bø", "bø/1.mp4"),
        ("loose.png", "loose.png"),
    ]
    records = list(dataset.records())
    assert [(r.clip, r.identity, len(r.frames), r.fps) for r in records] == [
        ("anna/1.mp4", "anna", 4, 25.0),
        ("anna/2.mkv", "anna", 4, 25.0),
        ("bø/1.mp4", "bø", 4, 25.0),
        ("loose.png", "loose.png", 1, 0.0),
    ]
    assert records[0].images().shape == (4, 48, 48, 3) and records[0].landmarks.shape == (4, 68, 2)
    entry = dataset.clips[3]
    assert 80 < entry.face < 120 and abs(entry.angles[2]) < 10
    eyes = records[3].landmarks[0, 36:48].mean(0) * records[3].crop.side + records[3].crop[:2]
    np.testing.assert_allclose(eyes, [225, 103], atol=3)
    with Image.open(undisturbed / "preview.png") as image:
        assert image.width > 1000 and np.asarray(image.convert("RGB")).std() > 20


def test_every_file_left_out_is_named_with_its_reason(undisturbed):
    with open(undisturbed / "rejected.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "reason"]
    reasons = dict(rows)
    expected = {
        "bad/cut.mp4": "truncated",
        "bad/empty.mp4": "empty",
        "bad/enormous.png": "enormous",
        "bad/hair.jpg": "no face",
        "bad/notes.txt": "not a video or photo",
        "bad/text.mp4": "unreadable",
        "bad/twin.jpg": "only in its extension",
        "bad/twin.png": "only in its extension",
        "bad/two.jpg": "several faces",
        "bad/unreadable.mp4": "no such file",
        "bad/wall.mp4": "no face",
    }
    assert reasons.keys() == expected.keys()
    for name, words in expected.items():
        assert words in reasons[name] and len(reasons[name]) < 200, (name, reasons[name])
    assert load_dataset(undisturbed).rejected == len(rows)


def test_killed_and_started_again_is_undisturbed_byte_for_byte(undisturbed, footage, tmp_path):
    output = tmp_path / "killed"
    process = _run(footage, output)
    work = output / ".work" / "clips"
    deadline = time.time() + 300
    while len(list(work.glob("*/*.json"))) < 3 and time.time() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # for the child that prepares clips to see its parent gone
    done = list(work.glob("*/*.json"))
    assert 3 <= len(done) < 12 and not (output / "dataset.json").exists()
    again = _run(footage, output)
    _, complained = again.communicate()
    assert again.returncode == 0, complained
    assert f"{len(done)}/12" in complained  # taken up where it stopped
    _assert_same_folder(undisturbed, output)


def test_started_again_redoes_no_finished_clip(footage, tmp_path, monkeypatch):
    output = tmp_path / "out"
    prepared = []
    real = ClipProcess.prepare

    def counted(self, clip):
        if len(prepared) == 3:
            raise InputError("the plug is pulled")
        real(self, clip)
        prepared.append(clip.name)

    monkeypatch.setattr(ClipProcess, "prepare", counted)
    with pytest.raises(InputError, match="^the plug is pulled$"):
        prepare(footage, output, CONFIG, workers=1, progress=False)
    first = list(prepared)
    monkeypatch.setattr(
        ClipProcess, "prepare", lambda self, clip: (prepared.append(clip.name), real(self, clip))
    )
    prepare(footage, output, CONFIG, workers=1, progress=False)
    assert len(first) == 3 and len(prepared) == len(set(prepared)) == 12


def test_new_clips_are_added_to_a_finished_dataset(undisturbed, footage, portrait, tmp_path):
    root, output = tmp_path / "in", tmp_path / "out"
    (root / "anna").mkdir(parents=True)
    (root / "anna" / "1.mp4").write_bytes((footage / "anna/1.mp4").read_bytes())
    (root / "late.mp4").write_bytes(b"")
    before = prepare(root, output, CONFIG, workers=1, progress=False)
    shard = (output / before.shards[0]).read_bytes()
    (root / "aa").mkdir()
    (root / "aa" / "new.mp4").write_bytes((footage / "bø/1.mp4").read_bytes())
    after = prepare(root, output, CONFIG, workers=1, progress=False)
    assert after == load_dataset(output)
    assert after.videos == [
        ("anna", "anna/1.mp4"),
        ("aa", "aa/new.mp4"),
    ]  # rows of W stay where they were
    assert [entry.clip for entry in after.clips] == ["anna/1.mp4", "aa/new.mp4"]
    assert [record.clip for record in after.records()] == ["anna/1.mp4", "aa/new.mp4"]
    assert (output / before.shards[0]).read_bytes() == shard and after.rejected == 1
    text = (output / "dataset.json").read_bytes()
    assert prepare(root, output, CONFIG, workers=1, progress=False) == after
    assert (output / "dataset.json").read_bytes() == text and not (output / ".work").exists()
    with pytest.raises(
        InputError, match=r"other settings \(size=48 there and 64 now\).*another folder"
    ):
        prepare(root, output, dataclasses.replace(CONFIG, size=64), progress=False)
    (output / "dataset.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match=r"expected schema \d+, got 99"):
        prepare(root, output, CONFIG, progress=False)
    assert (output / before.shards[0]).read_bytes() == shard


def test_another_beam_runner_by_its_own_flags_makes_the_same_dataset(
    undisturbed, footage, tmp_path
):
    output = tmp_path / "out"
    prepare(footage, output, CONFIG, beam_args=["--runner=BundleBasedDirectRunner"], progress=False)
    _assert_same_folder(undisturbed, output)


def test_full_disk_stops_with_one_line_and_nothing_lost(undisturbed, footage, tmp_path):
    full = _run(
        footage, tmp_path / "out", limit=4000
    )  # bytes a file may have: too few for a record
    _, complained = full.communicate()
    assert full.returncode == 1 and "Traceback" not in complained
    assert (
        "error: " in complained and "cannot write (File too large)" in complained.splitlines()[-1]
    )
    assert not (tmp_path / "out" / "dataset.json").exists()
    prepare(footage, tmp_path / "out", CONFIG, workers=1, progress=False)
    _assert_same_folder(undisturbed, tmp_path / "out")


def test_long_clips_are_decoded_twice_instead_of_kept(footage, tmp_path, monkeypatch):
    job = Job(str(footage), str(tmp_path), CONFIG)
    kept, outcome = clip_worker._record(job, Clip("anna/1.mp4", "anna", "anna/1.mp4"))
    monkeypatch.setattr(clip_worker, "_IN_MEMORY", 1)
    again, _ = clip_worker._record(job, Clip("anna/1.mp4", "anna", "anna/1.mp4"))
    assert kept == again and outcome.frames == 4


@pytest.mark.slow
def test_all_real_footage(real_data, tmp_path):
    """Real footage by its manifest: nothing is rejected, and people are who it says."""
    dataset = prepare(
        real_data,
        tmp_path,
        PreparationConfig(size=128, max_frames=16),
        manifest=real_data / "MANIFEST.csv",
    )
    with open(real_data / "MANIFEST.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(dataset.clips) == len(rows) and dataset.rejected == 0
    assert set(dataset.identities) == {row["person_id"] for row in rows}
