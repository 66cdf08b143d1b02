"""Which frames an evaluation uses: split in time, with a gap, seeded, nested in T."""

import dataclasses

import numpy as np
import pytest

from tests.face_points import COLLINS
from tests.moving_portrait import clip
from tf_talkinghead.config import EvaluationConfig, PreparationConfig
from tf_talkinghead.data import video
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation.protocol import resized, sources, split

CONFIG = EvaluationConfig()


@pytest.mark.parametrize("frames", [74, 75, 96, 200, 600])
def test_split_keeps_learned_and_scored_frames_apart(frames):
    chosen = split(frames, CONFIG, "a clip")
    assert chosen.shots == [1, 8, 32]
    assert len(set(chosen.learn)) == 32 and len(set(chosen.holdout)) == 32
    assert min(chosen.holdout) - max(chosen.learn) > CONFIG.gap
    assert 0 <= min(chosen.learn) and max(chosen.holdout) < frames
    assert chosen.holdout == sorted(chosen.holdout)
    # Stretches of four: at least three of every four steps go to the very next frame.
    assert chosen.consecutive.sum() >= 24


def test_split_is_seeded_by_seed_and_clip_alone():
    first = split(200, CONFIG, "a clip")
    assert split(200, CONFIG, "a clip") == first
    assert split(200, CONFIG, "another") != first
    assert split(200, dataclasses.replace(CONFIG, seed=1), "a clip") != first


def test_scored_frames_are_spread_over_all_that_may_be_scored():
    splits = [split(400, dataclasses.replace(CONFIG, seed=seed), "a") for seed in range(40)]
    numbers = np.concatenate([chosen.holdout for chosen in splits])
    assert numbers.min() < 400 * 0.6 + 30 and numbers.max() == 399


def test_a_short_clip_does_what_it_can():
    assert split(73, CONFIG, "a").shots == [1, 8]
    assert split(43, CONFIG, "a").shots == [1]
    with pytest.raises(
        InputError, match="1 to learn from .* 10 between .* 32 to score = 43, it has 42"
    ):
        split(42, CONFIG, "a")


def test_smaller_T_uses_the_first_of_the_larger():
    """The images of T = 8 are the first eight of `learn`, whether T = 32 is asked for or not."""
    small = split(200, dataclasses.replace(CONFIG, shots=(1, 8)), "a")
    assert small.learn == split(200, CONFIG, "a").learn[:8]


def test_people_of_a_folder_of_videos(tmp_path):
    made = clip(frames=24, size=176)
    for person, frames in (("ann", 8), ("bob", 6)):
        (tmp_path / person).mkdir()
        big = [resized(image, 352) for image in made.images[:frames]]
        video.write_video(tmp_path / person / "talk.mp4", big, 25)
    video.write_video(
        tmp_path / "ann" / "short.mp4", [resized(image, 352) for image in made.images[:3]], 25
    )
    people = sources(tmp_path)
    assert [(s.person, s.clip, s.frames) for s in people] == [
        ("ann", "ann/talk.mp4", 8),
        ("bob", "bob/talk.mp4", 6),
    ]
    loaded = people[0].load(64, 5)
    assert loaded.images.shape == (5, 64, 64, 3) and loaded.landmarks.shape == (5, 68, 2)
    assert people[1].few(64, 2).images.shape[0] == 2


def test_people_of_a_prepared_dataset(tmp_path):
    from tf_talkinghead.data.prepare import prepare

    made = clip(frames=24, size=176)
    (tmp_path / "in" / "ann").mkdir(parents=True)
    video.write_video(
        tmp_path / "in" / "ann" / "talk.mp4",
        [resized(image, 352) for image in made.images[:12]],
        25,
    )
    prepare(
        tmp_path / "in",
        tmp_path / "out",
        PreparationConfig(size=96, max_frames=12),
        workers=1,
        progress=False,
    )
    (person,) = sources(tmp_path / "out")
    assert (person.person, person.frames) == ("ann", 12)
    loaded = person.load(48, 100)
    assert loaded.images.shape == (12, 48, 48, 3)
    # The crop is the whole small frame here: its face lies about where the portrait's does.
    assert np.ptp(loaded.landmarks[0, :, 0]) == pytest.approx(np.ptp(COLLINS[:, 0]), abs=0.25)
    with pytest.raises(InputError, match="manifest"):
        sources(tmp_path / "out", manifest="people.csv")


def test_a_folder_without_people_is_refused(tmp_path):
    with pytest.raises(InputError):
        sources(tmp_path)
    with pytest.raises(InputError):
        sources(tmp_path / "nowhere")
