"""Files from foreign hands, most of them found by fuzzing, bombs, path tricks and pickles: refused
in one line each.
"""

import io
import json
import os
import zipfile
import zlib

import numpy as np
import pytest

from tests.campaigns.mutations import tfrecord
from tests.test_records import make_dataset, make_record
from tf_talkinghead.config import ConfigError, from_json, preset, to_json
from tf_talkinghead.data import records
from tf_talkinghead.data.dataset import load_dataset
from tf_talkinghead.data.listing import list_clips
from tf_talkinghead.data.video import read_video
from tf_talkinghead.driving.motion_file import Motion, read_motion_file, resampled
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store
from tf_talkinghead.export.bank_files import Members, read_members, write_members
from tf_talkinghead.files import ArrayFile, Damaged, file_sha256, parse_json, read_json
from tf_talkinghead.training.checkpoints import Checkpoints
from tf_talkinghead.training.run_settings import held_out_people, stored_config
from tf_talkinghead.weights.store import load_trained

DEEP = "[" * 100_000


def archive(members, compression=zipfile.ZIP_STORED):
    """A zip of {name: bytes}."""
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stored.getvalue()


def npy(array, **options):
    stored = io.BytesIO()
    np.save(stored, array, **options)
    return stored.getvalue()


class Runs:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


BROKEN_ARCHIVES = {
    "no archive": b"hello",
    "empty": b"",
    "one array alone": npy(np.zeros(3)),
    "a header cut short": archive({"bank.npy": npy(np.zeros(3))[:50], "a.npy": b"\x93NUMPY"}),
    "a header that is no literal": archive({"bank.npy": b"\x93NUMPY\x01\x00\x02\x00{("}),
    "no array": archive({"bank.npy": b"text", "bank": b"text"}),
    "a later version": archive({"bank.npy": b""}).replace(b"\x14\x00", b"\xff\x00"),
    "a pickle": archive({"bank.npy": npy(np.array([Runs()], object), allow_pickle=True)}),
    "an encrypted member": archive({"bank.npy": npy(np.zeros(2))}).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
    ),
}


@pytest.mark.parametrize("what", BROKEN_ARCHIVES)
def test_broken_archives(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "vectors.npz"
    path.write_bytes(BROKEN_ARCHIVES[what])

    def read_all():
        with ArrayFile(path) as stored:
            return [stored[name] for name in stored.names]

    with pytest.raises(Damaged) as error:
        read_all()
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"vectors\.npz"):
        read_members(path)
    # The same bytes as weights and as a checkpoint, with checksums that are right.
    digest = {"sha256": file_sha256(path)}
    (tmp_path / "config.json").write_text(to_json(preset("tiny")))
    (tmp_path / "provenance.json").write_text(json.dumps(digest))
    path.rename(tmp_path / "weights.npz")
    with pytest.raises(InputError, match="damaged weights"):
        load_trained(tmp_path)
    step = tmp_path / "step-00000001"
    step.mkdir()
    (tmp_path / "weights.npz").rename(step / "state.npz")
    (step / "manifest.json").write_text(json.dumps({"schema": 2, "step": 1, **digest}))
    with pytest.raises(InputError, match="damaged checkpoint"):
        Checkpoints(tmp_path).load(1)
    assert not (tmp_path / "unpickled").exists()


def test_an_archive_that_would_fill_the_memory_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("x.npy", "w") as member,
    ):
        for _ in range(320):
            member.write(bytes(1 << 20))
    with pytest.raises(Damaged, match="bomb"):
        ArrayFile(path)
    # A header that claims a terabyte.
    claims = npy(np.zeros(8)).replace(b"(8,), }            ", b"(137438953472,), } ")
    path.write_bytes(archive({"x.npy": claims}))
    with ArrayFile(path) as stored, pytest.raises(Damaged):
        stored["x"]


def test_sound_archives_are_read(tmp_path):
    path = tmp_path / "vectors.npz"
    vectors, cards = {"ann": np.ones(4, np.float16)}, {"ann": {"person": "ann"}}
    write_members(path, Members(7, "ab", vectors, cards))
    assert read_members(path).version == 7 and read_members(path).cards == cards
    np.savez_compressed(path, plain=np.zeros((40, 512, 512, 3), np.uint8))  # crops may shrink
    with ArrayFile(path) as stored:
        assert stored.names == ["plain"] and stored["plain"].shape == (40, 512, 512, 3)
    with pytest.raises(FileNotFoundError):
        ArrayFile(tmp_path / "none.npz")


def test_json_that_is_nested_without_end(tmp_path):
    for text in (DEEP, "{", "", "\ufeff{}", "nul"):
        with pytest.raises(Damaged):
            parse_json(text)
        with pytest.raises(ConfigError):
            from_json(text)
    (tmp_path / "dataset.json").write_text(DEEP)
    (tmp_path / "x.json").write_text(DEEP)
    (tmp_path / "y.json").write_text("[1]")
    with pytest.raises(InputError, match=r"dataset\.json"):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="not JSON"):
        read_motion_file(tmp_path / "x.json")
    with pytest.raises(Damaged, match="expected a JSON object, got list"):
        read_json(tmp_path / "y.json")


@pytest.mark.parametrize(
    "change",
    [
        {"clips": [[1]]}, {"clips": 3}, {"clip_columns": [{}]}, {"videos": [["a"]]},
        {"counts": {}}, {"settings": []}, {"shards": ["../x"]}, {"shards": ["/dev/zero"]},
        {"shards": ["a\0b"]}, {"shards": []}, {"schema": {}},
    ],
)  # fmt: skip
def test_damaged_dataset_index(tmp_path, change):
    make_dataset(tmp_path, [[make_record()]])
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"dataset\.json"):
        load_dataset(tmp_path)


def test_a_missing_shard_is_one_line(tmp_path):
    made = make_dataset(tmp_path, [[make_record()]])
    (tmp_path / made.shards[0]).unlink()
    with pytest.raises(InputError, match=made.shards[0]):
        made.read(made.clips[0])


def test_damaged_records(tmp_path):
    good = make_record(count=2)
    whole = records._Example.FromString(records.serialize(good))
    path, cases = tmp_path / "x.tfrecord", [b"\xff\xff", b""]
    for name in ("clip", "crop", "fps", "landmarks", "frames"):
        example = records._Example.FromString(whole.SerializeToString())
        del example.features.feature[name]
        cases.append(example.SerializeToString())
    short = records._Example.FromString(whole.SerializeToString())
    del short.features.feature["landmarks"].float_list.value[-1]
    cases.append(short.SerializeToString())
    for case in cases:
        path.write_bytes(tfrecord([case]))
        with pytest.raises(InputError, match="record"):
            list(records.read_records(path))
    for frame in (b"", b"no JPEG"):
        with pytest.raises(InputError, match="frame is damaged"):
            records.decode_frame(frame)
    path.write_bytes(tfrecord([whole.SerializeToString()]))  # our checksums are TensorFlow's
    assert [record.clip for record in records.read_records(path)] == [good.clip]


def test_names_that_no_file_can_have_and_links_out(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    names = ["x.png", "../secret.png", "/etc/passwd", "/dev/zero", "x" * 300 + ".png", "a\0.png"]
    names += ["link.png", "up/secret.png"]
    (tmp_path / "people.csv").write_text(
        "file,person_id\n" + "".join(f"{name},ann\n" for name in names)
    )
    clips, rejected = list_clips(tmp_path / "in", tmp_path / "people.csv")
    assert [clip.name for clip in clips] == ["x.png"] and len(rejected) == 7
    leading_out = [item.file for item in rejected if "a link that leads outside" in item.reason]
    assert leading_out == ["link.png", "up/secret.png"]
    for name in ("../ann", "a/b", "a\0b", "/dev/zero", ".hidden", "", "x" * 65, "bank", "ann."):
        with pytest.raises(InputError):
            store.check_name(name)


def test_a_shard_that_is_a_link_out_of_the_dataset(tmp_path):
    (tmp_path / "data").mkdir()
    make_dataset(tmp_path / "data", [[make_record()]])
    shard = tmp_path / "data" / "clips-0.tfrecord"
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a shard outside the folder: 'clips-0.tfrecord'"):
        load_dataset(tmp_path / "data")
    (tmp_path / "linked").symlink_to(tmp_path / "data")  # the folder itself may be a link
    shard.unlink()
    (tmp_path / "elsewhere").rename(shard)
    assert len(load_dataset(tmp_path / "linked").clips) == 1


def test_motion_without_end():
    motion = Motion(np.array([0.0, 1e300]), np.zeros((2, 16)))
    with pytest.raises(InputError, match="at most 14400 s"):
        resampled(motion, 25.0)


def test_damaged_run_files(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"config\.json"):
        stored_config(tmp_path)
    for text in ("{", "[]", "{}", '{"held_out": 3}', '{"held_out": [1]}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match=r"run\.json"):
            held_out_people(None, None, tmp_path, None)


def png_header(width, height):
    """A PNG of these dimensions with the pixels of a few rows."""

    def chunk(name, content):
        checked = name + content
        return len(content).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    pixels = zlib.compress(bytes(1 << 16))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x02\x00\x00\x00")
        + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )  # fmt: skip


def test_pictures_of_enormous_size(tmp_path):
    path = tmp_path / "bomb.png"
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (64_000_001, 1)):
        path.write_bytes(png_header(*size))
        with pytest.raises(InputError, match=r"bomb\.png"):
            list(read_video(path).frames)


def _video(path, at=range(3)):
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for number in at:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def test_video_whose_codec_is_unknown(tmp_path):
    path = tmp_path / "x.mkv"
    _video(path)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_XXXXXXXXXXXXX"))
    with pytest.raises(InputError, match=r"x\.mkv"):
        read_video(path)


def test_a_header_that_promises_a_day_costs_no_more_than_its_frames(tmp_path):
    path = tmp_path / "day.mp4"
    _video(path, at=[0, 1, 2, 3, 12 * 3600 * 25, 24 * 3600 * 25])
    clip = read_video(path)
    assert clip.length == 6 and clip.fps < 1e-3  # its own average rate
    assert sum(1 for _ in clip.frames) == 6
