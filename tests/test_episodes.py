"""Episodes: what is in one, reproducibility, resumption, workers, short clips, sizes."""

import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.test_records import make_dataset
from tf_talkinghead.config import AugmentConfig, replace
from tf_talkinghead.data import episodes, records
from tf_talkinghead.data.episodes import Schedule
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.cropping import CropBox


def _record(clip, identity, count, size=32, video=None):
    """Frame t is plain grey of level 10 t (+ 5 for bo), its landmarks all t / 100: both tell the
    frame.
    """
    frames = [
        np.full((size, size, 3), 10 * t + (5 if identity == "bo" else 0), np.uint8)
        for t in range(count)
    ]
    points = np.broadcast_to(np.arange(count)[:, None, None] / 100, (count, 68, 2)).astype(
        np.float32
    )
    encoded = [records.encode_frame(frame, 100) for frame in frames]
    return records.Record(encoded, points, clip, video or clip, identity, 25.0, CropBox(0, 0, size))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset")
    groups = [
        [
            _record("a1", "anna", 9, video="a"),
            _record("a2", "anna", 5, video="a"),
            _record("b", "bo", 6),
        ],
        [_record("c", "cy", 2), _record("d", "di", 1)],
    ]
    make_dataset(path, groups, size=32)
    return path


def _batches(folder, config, count, **kwargs):
    arguments = {"batch_size": 2, "seed": 3, **kwargs}
    return [
        {name: value.numpy() for name, value in batch.items()}
        for batch in episodes.episodes(folder, config, **arguments).take(count)
    ]


def _assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_shapes_types_and_that_landmarks_belong_to_their_frames(folder, tiny):
    for batch in _batches(folder, tiny, 6):
        assert batch["context_images"].shape == (2, 2, 32, 32, 3) and batch["image"].shape == (
            2,
            32,
            32,
            3,
        )
        assert batch["image"].dtype == np.uint8 and batch["index"].dtype == np.int32
        assert (
            batch["context_landmarks"].shape == (2, 2, 68, 2)
            and batch["landmarks"].dtype == np.float32
        )
        for i in range(2):
            frames = [*batch["context_images"][i], batch["image"][i]]
            points = [*batch["context_landmarks"][i], batch["landmarks"][i]]
            assert {0: b"anna", 1: b"bo", 2: b"cy", 3: b"di"}[batch["index"][i]] == batch[
                "identity"
            ][i]
            for frame, point in zip(frames, points):
                assert frame.mean() // 10 == round(point.mean() * 100)


def test_frames_differ_when_the_clip_allows_and_the_target_is_never_shown(folder, tiny):
    schedule = Schedule(episodes.load_dataset(folder), 4, 0, tiny.data)
    seen = set()
    for number in range(200):
        episode = schedule[number]
        count, frames = episode.entry.frames, episode.frames.tolist()
        assert len(frames) == 5 and set(frames) <= set(range(count))
        if count >= 5:
            assert len(set(frames)) == 5
        elif count > 1:
            assert frames[-1] not in frames[:-1]
        seen |= {(episode.entry.clip, frames[-1])}
    assert len(seen) == 9 + 5 + 6 + 2 + 1  # every frame of every clip becomes a target


def test_an_epoch_is_one_episode_of_each_video_in_a_new_order(folder, tiny):
    schedule = Schedule(episodes.load_dataset(folder), 2, 0, tiny.data)
    orders = [tuple(schedule[4 * epoch + i].entry.video for i in range(4)) for epoch in range(8)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders) and len(set(orders)) > 3
    assert {schedule[n].entry.clip for n in range(64)} == {"a1", "a2", "b", "c", "d"}


def test_same_seed_same_episodes_and_another_seed_others(folder, tiny):
    config = replace(
        tiny, {"data.augment.flip": True, "data.augment.colour": 1.0, "data.augment.geometry": 1.0}
    )
    first = _batches(folder, config, 5)
    _assert_same(first, _batches(folder, config, 5))
    other = _batches(folder, config, 5, seed=4)
    assert any((a["landmarks"] != b["landmarks"]).any() for a, b in zip(first, other))


def test_resumed_at_a_step(folder, tiny):
    config = replace(tiny, {"data.augment.colour": 1.0})
    _assert_same(_batches(folder, config, 7)[4:], _batches(folder, config, 3, start_step=4))


def test_two_workers_see_what_one_with_twice_the_batch_sees(folder, tiny):
    whole = _batches(folder, tiny, 4, batch_size=4)
    parts = [
        _batches(folder, tiny, 4, batch_size=2, num_workers=2, worker=worker) for worker in range(2)
    ]
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*parts)]
    _assert_same(whole, joined)


def test_people_restricted_and_excluded(folder, tiny):
    names = {n for b in _batches(folder, tiny, 8, identities=["anna", "bo"]) for n in b["identity"]}
    assert names == {b"anna", b"bo"}
    names = {n for b in _batches(folder, tiny, 8, exclude=["anna", "bo"]) for n in b["identity"]}
    assert names == {b"cy", b"di"}
    with pytest.raises(InputError, match="no such people: eve"):
        episodes.episodes(folder, tiny, 2, 0, identities=["eve"])


def test_short_clips_are_skipped_when_the_config_says_so(folder, tiny):
    config = replace(tiny, {"data.short_clips": "skip", "meta.shots": 5})
    clips = {
        Schedule(episodes.load_dataset(folder), 5, 0, config.data)[n].entry.clip for n in range(20)
    }
    assert clips == {"a1", "b"}
    with pytest.raises(InputError, match="no clip to train on.*skip"):
        episodes.episodes(folder, replace(config, {"meta.shots": 9}), 2, 0)


def test_only_the_frames_of_the_episode_are_decoded(folder, tiny, monkeypatch):
    calls = []
    decode = records.decode_frame
    monkeypatch.setattr(records, "decode_frame", lambda encoded: calls.append(1) or decode(encoded))
    dataset = episodes.load_dataset(folder)
    episode = Schedule(dataset, 2, 0, tiny.data, identities=["bo"])[0]
    images, *_ = episodes.read_episode(dataset, episode, 32)
    assert len(calls) == 3 and images.shape == (3, 32, 32, 3)


def test_larger_records_are_averaged_down_and_smaller_refused(folder, tiny):
    dataset = episodes.load_dataset(folder)
    episode = Schedule(dataset, 2, 0, tiny.data, identities=["anna"], augmented=False)[0]
    large, landmarks, *_ = episodes.read_episode(dataset, episode, 32)
    small, same_landmarks, *_ = episodes.read_episode(dataset, episode, 16)
    by_hand = large.reshape(3, 16, 2, 16, 2, 3).mean((2, 4))
    np.testing.assert_allclose(small, by_hand, atol=0.51)
    np.testing.assert_array_equal(landmarks, same_landmarks)
    with pytest.raises(InputError, match="32 px are too small for 64 px.*--size=64"):
        episodes.episodes(
            folder,
            replace(tiny, {"model.image_size": 64, "model.embedder_channels": (8, 8, 16, 16)}),
            2,
            0,
        )


def test_missing_shard_is_named(tmp_path, tiny):
    make_dataset(tmp_path, [[_record("a", "anna", 3)]], size=32)
    (tmp_path / "clips-0.tfrecord").unlink()
    with pytest.raises(InputError, match="clips-0.tfrecord is missing"):
        episodes.episodes(tmp_path, tiny, 2, 0)


def test_variation_is_the_same_for_all_frames_of_an_episode(tmp_path, tiny, portrait):
    image = cv2.resize(portrait[:256, 100:356], (64, 64))
    record = _record("p", "p", 6, size=64)
    record = dataclasses.replace(
        record, frames=[records.encode_frame(image, 100)] * 6, landmarks=record.landmarks * 0 + 0.4
    )
    made = make_dataset(tmp_path, [[record]], size=64)
    config = dataclasses.replace(
        tiny.data, augment=AugmentConfig(flip=True, colour=1.0, geometry=1.0)
    )
    schedule = Schedule(made, 2, 0, config)
    first, points, *_ = episodes.read_episode(made, schedule[0], 64)
    assert (first == first[0]).all() and (points == points[0]).all()
    assert (first[0] != record.images([0])[0]).any()
    second, *_ = episodes.read_episode(made, schedule[1], 64)
    assert (first != second).any()
    plain, *_ = episodes.read_episode(made, Schedule(made, 2, 0, config, augmented=False)[0], 64)
    np.testing.assert_array_equal(plain[0], record.images([0])[0])


def test_program_may_end_with_an_iterator_open(folder):
    code = f"""
from tf_talkinghead.config import preset
from tf_talkinghead.data.episodes import episodes
iterator = iter(episodes({str(folder)!r}, preset("tiny"), 2, 0))
next(iterator)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-500:]
