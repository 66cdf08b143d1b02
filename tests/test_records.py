"""Records and dataset.json: round trips, determinism, refusals."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.data import dataset, records
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.cropping import CropBox


def make_record(clip="anna/été 1.mp4", count=4, size=16, seed=0, identity="anna"):
    random = np.random.default_rng(seed)
    frames = [
        records.encode_frame(random.integers(0, 256, (size, size, 3), np.uint8), 95)
        for _ in range(count)
    ]
    points = random.normal(0.5, 0.3, (count, 68, 2)).astype(np.float32)
    return records.Record(frames, points, clip, clip, identity, 29.97, CropBox(-3, 4, 99))


def make_dataset(folder, groups, size=16):
    """A dataset of shards with the given records."""
    entries, videos = [], []
    for shard, group in enumerate(groups):
        places = records.write_shard(
            folder / f"clips-{shard}.tfrecord", map(records.serialize, group)
        )
        for record, (offset, length) in zip(group, places):
            if (record.identity, record.video) not in videos:
                videos.append((record.identity, record.video))
            row = videos.index((record.identity, record.video))
            entries.append(
                dataset.Entry(
                    record.clip,
                    row,
                    shard,
                    offset,
                    length,
                    len(record.frames),
                    80.0,
                    (1.0, 2.0, 3.0),
                )
            )
    made = dataset.Dataset(
        folder,
        {"size": size},
        videos,
        [f"clips-{i}.tfrecord" for i in range(len(groups))],
        entries,
        2,
    )
    (folder / dataset.INDEX_NAME).write_text(dataset.to_json(made))
    return made


def _same(a, b):
    assert dataclasses.replace(a, landmarks=0, fps=0) == dataclasses.replace(b, landmarks=0, fps=0)
    np.testing.assert_array_equal(a.landmarks, b.landmarks)
    assert a.fps == pytest.approx(b.fps, rel=1e-6)


def test_a_record_comes_back_from_its_shard_as_it_was(tmp_path):
    group = [
        make_record("a.mp4"),
        make_record("b/\udcff.mp4", count=1, seed=1),
    ]  # also a name that is not UTF-8
    places = records.write_shard(tmp_path / "shard", map(records.serialize, group))
    for written, read in zip(group, records.read_records(tmp_path / "shard"), strict=True):
        _same(written, read)
    data = (tmp_path / "shard").read_bytes()
    assert [data[offset : offset + length] for offset, length in places] == [
        records.serialize(r) for r in group
    ]


def test_same_record_same_bytes():
    assert records.serialize(make_record()) == records.serialize(make_record())


def test_a_record_is_a_tf_example():
    example = tf.train.Example.FromString(records.serialize(make_record()))
    assert example.SerializeToString(deterministic=True) == records.serialize(make_record())
    parsed = tf.io.parse_single_example(
        records.serialize(make_record()),
        {
            "frames": tf.io.RaggedFeature(tf.string),
            "landmarks": tf.io.FixedLenSequenceFeature([68, 2], tf.float32, True),
        },
    )
    np.testing.assert_array_equal(parsed["landmarks"], make_record().landmarks)
    assert tf.io.decode_jpeg(parsed["frames"][0]).shape == (16, 16, 3)


def test_frames_decode_to_rgb():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    decoded = records.decode_frame(records.encode_frame(image, 95))
    np.testing.assert_allclose(decoded, image, atol=3)
    np.testing.assert_allclose(tf.io.decode_jpeg(records.encode_frame(image, 95)), image, atol=3)


def test_landmarks_must_match_frames():
    record = make_record()
    with pytest.raises(ValueError, match="landmarks"):
        records.serialize(dataclasses.replace(record, landmarks=record.landmarks[:-1]))


def test_another_schema_is_refused(monkeypatch):
    monkeypatch.setattr(records, "RECORD_SCHEMA", 3)
    newer = records.serialize(make_record())
    monkeypatch.undo()
    with pytest.raises(InputError, match="expected schema 2, got .3."):
        records.parse(newer)


def test_records_of_schema_1_have_no_pupils(monkeypatch):
    monkeypatch.setattr(records, "RECORD_SCHEMA", 1)
    old = records.serialize(make_record())
    monkeypatch.undo()
    assert records.parse(old).pupils is None


def test_pupils_come_back_unknown_ones_as_nan():
    pupils = np.random.default_rng(0).uniform(0, 1, (4, 2, 2)).astype(np.float32)
    pupils[1, 0] = np.nan
    record = dataclasses.replace(make_record(), pupils=pupils)
    np.testing.assert_array_equal(records.parse(records.serialize(record)).pupils, pupils)
    with pytest.raises(ValueError, match=r"pupils: expected \[4, 2, 2\], got \[3, 2, 2\]"):
        records.serialize(dataclasses.replace(record, pupils=pupils[:3]))


def test_damaged_shard(tmp_path):
    records.write_shard(tmp_path / "shard", [records.serialize(make_record())])
    data = bytearray((tmp_path / "shard").read_bytes())
    data[100] ^= 1
    (tmp_path / "shard").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        list(records.read_records(tmp_path / "shard"))


def test_checksum_is_that_of_tensorflow(tmp_path):
    records.write_shard(tmp_path / "shard", [b"abc", b"", bytes(300)])
    data = (tmp_path / "shard").read_bytes()
    assert data[8:12] == records.checksum(data[:8])
    assert data[15:19] == records.checksum(b"abc")
    assert data[-4:] == records.checksum(bytes(300))


def test_a_flipped_bit_is_found_in_direct_reading(tmp_path):
    made = make_dataset(tmp_path, [[make_record()]])
    shard, entry = tmp_path / "clips-0.tfrecord", made.clips[0]
    whole = shard.read_bytes()
    for place in (entry.offset, entry.offset + entry.length // 2, entry.offset + entry.length):
        data = bytearray(whole)
        data[place] ^= 1
        shard.write_bytes(data)
        with pytest.raises(InputError, match="the record of anna/été 1.mp4 is damaged"):
            made.read(entry)


def test_frames_of_several_sizes_are_refused():
    other = make_record(size=24).frames[:1]
    record = dataclasses.replace(make_record(), frames=make_record().frames[:3] + other)
    with pytest.raises(InputError, match="frames of several sizes"):
        record.images()


@pytest.mark.parametrize("offset", [2**64, -1, 0, 11])
def test_impossible_offsets_are_refused(tmp_path, offset):
    made = make_dataset(tmp_path, [[make_record()]])
    moved = dataclasses.replace(made, clips=[dataclasses.replace(made.clips[0], offset=offset)])
    (tmp_path / dataset.INDEX_NAME).write_text(dataset.to_json(moved))
    with pytest.raises(InputError, match="impossible offset"):
        dataset.load_dataset(tmp_path)


def test_dataset_round_trip_and_direct_reading(tmp_path):
    groups = [
        [make_record("a.mp4"), make_record("b.mp4", seed=1)],
        [make_record("c.mp4", seed=2, identity="bo")],
    ]
    made = make_dataset(tmp_path, groups)
    loaded = dataset.load_dataset(tmp_path)
    assert loaded == made
    for entry, record in zip(loaded.clips, groups[0] + groups[1]):
        _same(loaded.read(entry), record)
    assert [record.clip for record in loaded.records()] == ["a.mp4", "b.mp4", "c.mp4"]
    assert loaded.identities == ["anna", "bo"] and loaded.videos[2] == ("bo", "c.mp4")
    counts = json.loads((tmp_path / "dataset.json").read_text())["counts"]
    assert counts == {
        "identities": 2,
        "videos": 3,
        "clips": 3,
        "frames": 12,
        "rejected": 2,
        "hard_detector_calls": 0,
        "unsure_frames_left_out": 0,
    }


def test_dataset_refusals(tmp_path):
    with pytest.raises(InputError, match="prepare_dataset"):
        dataset.load_dataset(tmp_path)
    made = make_dataset(tmp_path, [[make_record()]])
    (tmp_path / "clips-0.tfrecord").write_bytes(b"short")
    with pytest.raises(InputError, match="does not match"):
        made.read(made.clips[0])
    text = (tmp_path / "dataset.json").read_text()
    (tmp_path / "dataset.json").write_text(text.replace('"schema": 2', '"schema": 9'))
    with pytest.raises(InputError, match="expected schema 2, got 9"):
        dataset.load_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        dataset.load_dataset(tmp_path)
