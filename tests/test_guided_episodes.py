"""Episodes of a guided generator: hard pairs, photos with made-up motion, pupils,
and the same numbers again.
"""

import dataclasses

import numpy as np
import pytest

from tests.face_points import COLLINS
from tests.random_avatars import tiny_guided
from tests.test_records import make_dataset
from tf_talkinghead.config import replace
from tf_talkinghead.data import episodes, records
from tf_talkinghead.faces.cropping import CropBox
from tf_talkinghead.faces.geometry import expressed
from tf_talkinghead.faces.motion import mouth_opening

TINY = replace(tiny_guided(), {"data.hard_pairs": 1.0, "data.still_share": 0.5})


def _record(clip, count, pupils=True):
    """A mouth that opens and lids that shut from frame to frame; frame t is grey 2 t."""
    steps = np.linspace(0, 1, count) if count > 1 else [0.0]
    points = np.float32([expressed(COLLINS, 0.9 * s, s, 0.0) for s in steps])
    frames = [np.full((64, 64, 3), 2 * t, np.uint8) for t in range(count)]
    if count == 1:
        frames = [np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)]
    encoded = [records.encode_frame(frame, 100) for frame in frames]
    eyes = np.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], 1) if pupils else None
    return records.Record(encoded, points, clip, clip, clip, 25.0, CropBox(0, 0, 64), eyes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset")
    make_dataset(
        path, [[_record("clip", 40), _record("blind", 40, pupils=False)], [_record("photo", 1)]], 64
    )
    return path


def _batches(folder, config, count, **arguments):
    batches = episodes.episodes(folder, config, batch_size=4, seed=3, **arguments).take(count)
    return [{name: value.numpy() for name, value in batch.items()} for batch in batches]


def rows(batches, identity):
    return [
        {name: value[i] for name, value in batch.items()}
        for batch in batches
        for i in range(4)
        if batch["identity"][i] == identity
    ]


def test_shapes_and_the_same_numbers_from_any_step(folder):
    batches = _batches(folder, TINY, 4)
    assert batches[0]["pupils"].shape == (4, 2, 2)
    assert batches[0]["context_pupils"].shape == (4, 2, 2, 2)
    assert batches[0]["sources"].dtype == np.int32 and batches[0]["window"].shape == (4, 2)
    for name, value in _batches(folder, TINY, 2, start_step=2)[1].items():
        np.testing.assert_array_equal(value, batches[3][name])
    sources = np.concatenate([batch["sources"] for batch in batches])
    assert set(sources) == {1, 2}


def test_a_near_pair_has_a_context_frame_near_its_target(folder):
    config = replace(TINY, {"data.hard_pairs": 0.0, "data.near_pairs": 1.0, "data.still_share": 0})
    pairs = rows(_batches(folder, config, 16), b"clip")
    apart = np.array(
        [
            np.abs(mouth_opening(p["context_landmarks"]) - mouth_opening(p["landmarks"]))
            for p in pairs
        ]
    )
    span = np.ptp(mouth_opening(_record("clip", 40).landmarks))
    # the nearest of 12 of the 39 others is about 39 / 13 / 2 frames away, a random one 13
    assert np.mean(apart[:, 0]) < 0.1 * span < 0.25 * span < np.mean(apart[:, 1])


def test_the_context_of_a_hard_pair_is_at_the_other_end(folder):
    # Mouth and lids run with the frame's number; the third measure, yaw, does not change:
    # any order is right there.
    openings = mouth_opening(_record("clip", 40).landmarks)
    low, some, most, high = np.quantile(openings, [0.11, 0.36, 0.64, 0.89])
    config = replace(TINY, {"data.still_share": 0.0})
    pairs = rows(_batches(folder, config, 16), b"clip")
    apart = 0
    for pair in pairs:
        target, context = mouth_opening(pair["landmarks"]), mouth_opening(pair["context_landmarks"])
        apart += (target >= high and (context <= some).all()) or (
            target <= low and (context >= most).all()
        )
    assert len(pairs) >= 16 and apart >= 0.5 * len(pairs)


def test_the_context_of_a_photo_is_the_photo_bent_and_the_target_is_real(folder):
    batches = _batches(folder, TINY, 8)
    photos = rows(batches, b"photo")
    assert len(photos) >= 8  # half of the episodes, though one video of three
    for photo in photos:
        assert not np.array_equal(photo["context_images"][0], photo["image"])
        assert not np.allclose(photo["context_landmarks"][0], photo["landmarks"])
        assert np.isnan(photo["context_pupils"]).all()


def test_pupils_follow_the_picture_and_are_unknown_where_nobody_looked(folder):
    config = replace(
        TINY, {"data.still_share": 0.0, "data.augment.flip": True, "data.augment.geometry": 1.0}
    )
    batches = _batches(folder, config, 8)
    for row in rows(batches, b"clip"):
        eyes = np.stack([row["landmarks"][36:42].mean(0), row["landmarks"][42:48].mean(0)])
        np.testing.assert_allclose(row["pupils"], eyes, atol=1e-4)
    assert all(np.isnan(row["pupils"]).all() for row in rows(batches, b"blind"))


def test_gaze_can_be_left_out(folder):
    config = replace(TINY, {"data.still_share": 0.0, "data.gaze_dropout": 1.0})
    assert all(np.isnan(batch["pupils"]).all() for batch in _batches(folder, config, 2))


def test_the_papers_episodes_have_none_of_it(folder):
    plain = dataclasses.replace(
        TINY,
        model=dataclasses.replace(TINY.model, generator="direct", embedder_channels=(8, 8, 16, 16)),
    )
    assert "sources" not in _batches(folder, plain, 1)[0]
