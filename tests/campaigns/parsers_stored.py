"""Parsers of JSON, CSV and archives of arrays."""

import contextlib
import io
import json
import pathlib
import tempfile

import numpy as np

from tests.campaigns import mutations
from tests.campaigns.parser import Parser, file_of, is_archive, is_json


def _json_in(name, seeds, parse):
    """The parser of a folder with the JSON file `name`."""

    def parse_folder(data):
        with file_of(name, data) as path:
            parse(path.parent)

    return Parser(seeds, mutations.json_text, parse_folder, is_json, guided=True)


def _dataset():
    """The parser of dataset.json, beside valid shards."""
    shards = {}

    def seeds():
        from tests.test_records import make_dataset, make_record

        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            make_dataset(folder, [[make_record()], [make_record("b", identity="b")]])
            shards.update({path.name: path.read_bytes() for path in folder.glob("*.tfrecord")})
            return [(folder / "dataset.json").read_bytes()]

    def parse(folder):
        from tf_talkinghead.data.dataset import load_dataset

        for name, content in shards.items():
            (folder / name).write_bytes(content)
        dataset = load_dataset(folder)
        for entry in dataset.clips:
            dataset.read(entry)
        assert dataset.identities

    return _json_in("dataset.json", seeds, parse)


def _config():
    from tf_talkinghead.config import from_json, preset, to_json

    seeds = lambda: [to_json(preset(name)).encode() for name in ("tiny", "paper", "guided")]
    parse = lambda data: from_json(data.decode("utf-8", "replace"))
    return Parser(seeds, mutations.json_text, parse, is_json, guided=True)


def _motion(suffix):
    def seeds():
        from tf_talkinghead.driving import motion_file

        times = np.arange(3) / 25
        numbers = np.tile(motion_file._REST, (3, 1))
        points = np.zeros((3, 68, 2), np.float32)
        saved = motion_file.Motion(times, numbers, points, points[0])
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"x.{suffix}"
            motion_file.write_motion_file(path, saved)
            return [path.read_bytes()]

    def parse(data):
        from tf_talkinghead.driving.motion_file import read_motion_file, resampled

        with file_of(f"x.{suffix}", data) as path:
            resampled(read_motion_file(path), 25.0)

    if suffix == "json":
        return Parser(seeds, mutations.json_text, parse, is_json, guided=True)
    return Parser(seeds, mutations.csv_text, parse, lambda data: b"time" in data[:200], guided=True)


def _manifest():
    seeds = lambda: [b"file,person_id,video_id\nann/1.mp4,ann,v1\nbob/2.mp4,bob,\nx.png,x,x\n"]

    def parse(data):
        from tf_talkinghead.data.listing import list_clips

        with file_of("people.csv", data) as path:
            (path.parent / "x.png").write_bytes(b"x")
            clips, _ = list_clips(path.parent, path)
            inside = path.parent.resolve()
            for clip in clips:
                assert inside in (path.parent / clip.name).resolve().parents, "outside the folder"

    passes = lambda data: b"file" in data[:100] and b"person_id" in data[:100]
    return Parser(seeds, mutations.csv_text, parse, passes, guided=True)


def _bank():
    def seeds():
        from tf_talkinghead.export.bank_files import Members, write_members

        members = Members(
            3, "ab" * 32, {"ann": np.zeros(9, np.float16)}, {"ann": {"person": "ann"}}
        )
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "vectors.npz"
            write_members(path, members)
            return [path.read_bytes()]

    def parse(data):
        from tf_talkinghead.export.bank_files import read_member, read_members

        with file_of("vectors.npz", data) as path:
            read_members(path)
            read_member(path, "ann")

    return Parser(seeds, mutations.archive, parse, is_archive)


def _arrays_in(read, names):
    """The parser of a folder with a file of arrays and a JSON file, which has the arrays' digest.

    Args:
      read: function that reads such a folder.
      names: (name of the arrays' file, name of the JSON file, key of the digest in it).
    """
    arrays, described, key = names

    def seeds():
        stored = io.BytesIO()
        np.savez(stored, **{"E/000.kernel": np.zeros((3, 3), np.float32), "D/b": np.zeros(())})
        return [stored.getvalue()]

    def parse(data):
        from tf_talkinghead.files import sha256

        with file_of(arrays, data) as path:
            facts = {key: sha256(data), "schema": 2, "step": 1, "scores": {}, "dtype": "float32"}
            (path.parent / described).write_text(json.dumps(facts))
            read(path.parent)

    return Parser(seeds, mutations.archive, parse, is_archive)


def _weights():
    from tf_talkinghead.weights.store import _read_shipped

    return _arrays_in(_read_shipped, ("weights.npz", "provenance.json", "sha256"))


def _checkpoint():
    from tf_talkinghead.training.checkpoints import Checkpoints

    def read(folder):
        step = folder.parent / f"{folder.name}-all" / "step-00000001"
        step.parent.mkdir()
        folder.rename(step)
        try:
            Checkpoints(step.parent).load(1)
        finally:
            step.rename(folder)
            step.parent.rmdir()

    return _arrays_in(read, ("state.npz", "manifest.json", "sha256"))


def _avatar():
    """The parser of avatar.json and avatar.npz.

    An input holds both: the JSON's length, the JSON, the arrays.
    """

    def seeds():
        from tests.random_avatars import random_avatar
        from tf_talkinghead.personalization.avatar import save_avatar

        avatar, _ = random_avatar()
        avatar.weights = avatar.weights[:2]
        with tempfile.TemporaryDirectory() as folder:
            save_avatar(avatar, folder)
            facts = (pathlib.Path(folder) / "avatar.json").read_bytes()
            arrays = (pathlib.Path(folder) / "avatar.npz").read_bytes()
            return [len(facts).to_bytes(4, "big") + facts + arrays]

    def mutate(rng, data):
        length = int.from_bytes(data[:4], "big")
        facts, arrays = data[4 : 4 + length], data[4 + length :]
        if rng.random() < 0.5:
            facts = mutations.json_text(rng, facts)
        else:
            arrays = mutations.archive(rng, arrays)
        return len(facts).to_bytes(4, "big") + facts + arrays

    def parse(data):
        from tf_talkinghead.files import sha256
        from tf_talkinghead.personalization.avatar import load_avatar

        length = int.from_bytes(data[:4], "big")
        facts, arrays = data[4 : 4 + length], data[4 + length :]
        with contextlib.suppress(ValueError, RecursionError):
            tree = json.loads(facts)
            if isinstance(tree, dict) and isinstance(tree.get("arrays_sha256"), str):
                facts = json.dumps({**tree, "arrays_sha256": sha256(arrays)}).encode()
        with file_of("avatar.json", facts) as path:
            (path.parent / "avatar.npz").write_bytes(arrays)
            load_avatar(path.parent)

    passes = lambda data: is_json(data[4 : 4 + int.from_bytes(data[:4], "big")])
    return Parser(seeds, mutate, parse, passes)


PARSERS = {
    "dataset_json": _dataset,
    "config_json": _config,
    "motion_json": lambda: _motion("json"),
    "motion_csv": lambda: _motion("csv"),
    "manifest_csv": _manifest,
    "bank_npz": _bank,
    "weights_npz": _weights,
    "checkpoint_npz": _checkpoint,
    "avatar": _avatar,
}
