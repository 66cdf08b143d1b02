"""What an episode of a guided generator adds to the paper's: hard and near pairs, pupils, moving
photos.

The draws are made with the episode, before its record is read; they are applied to the record's
frames afterwards.
"""

from dataclasses import dataclass

import numpy as np

from tf_talkinghead.config import EpisodeConfig
from tf_talkinghead.data import still_motion
from tf_talkinghead.data.augment import Variation
from tf_talkinghead.data.records import Record
from tf_talkinghead.faces.geometry import head_angles
from tf_talkinghead.faces.motion import eye_opening, mouth_opening

# Measures of a frame's landmarks. In a hard pair, target and context differ in one of them.
_MEASURES = (mouth_opening, eye_opening, lambda points: head_angles(points)[..., 0])
# Shares of a clip's frames, in the order of the measure, from which a hard pair's target and its
# context are drawn: from opposite ends.
_TARGET_SHARE, _CONTEXT_SHARE = 0.1, 0.35
# A near pair's first context frame is the nearest to the target of so many random frames: what an
# avatar of that many photos has at hand.
_NEAR_OF = 12


@dataclass(frozen=True)
class GuidedDraws:
    """Random choices of an episode of a guided generator, beyond the paper's.

    sources: how many context frames may serve as photos: the first so many, 1 to K. window:
    float32 [2] in 0..1, the place of the part that D scores. hard: index of the measure that makes
    this pair a hard one, or -1. near: whether it is a near one. seed: for the draws that depend on
    the clip's landmarks. gaze: whether pupils are given. motion: float64 [still_motion.DRAWS],
    standard normal, the synthetic motion of a photo.
    """

    sources: int
    window: np.ndarray
    hard: int
    near: bool
    seed: int
    gaze: bool
    motion: np.ndarray


def draw(random: np.random.Generator, config: EpisodeConfig, shots: int) -> GuidedDraws:
    """The draws of one episode with `shots` context frames."""
    hard, kind = int(random.integers(len(_MEASURES))), random.random()
    return GuidedDraws(
        sources=int(random.integers(1, shots + 1)),
        window=np.float32(random.random(2)),
        hard=hard if kind < config.hard_pairs else -1,
        near=config.hard_pairs <= kind < config.hard_pairs + config.near_pairs,
        seed=int(random.integers(2**31)),
        gaze=random.random() >= config.gaze_dropout,
        motion=random.standard_normal(still_motion.DRAWS),
    )


def chosen_frames(draws: GuidedDraws, frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The frames of a hard or near pair, or `frames` where it is neither or the clip too short.

    The target of a hard pair is extreme in one measure, and the context frames are at its other
    end. In a near pair the first context frame is near the target.

    Args:
      frames: int [K + 1], positions in the clip, the target last.
      landmarks: float32 [T, 68, 2] of the whole clip.

    Returns:
      int [K + 1], the target last.
    """
    count, shots = len(landmarks), len(frames) - 1
    random = np.random.default_rng(draws.seed)
    if draws.near and count > _NEAR_OF:
        others = np.setdiff1d(np.arange(count), frames[-1])
        offered = random.choice(others, _NEAR_OF, replace=False)
        apart = np.square(landmarks[offered] - landmarks[frames[-1]]).sum((1, 2))
        return np.append(offered[apart.argmin()], frames[1:])
    if draws.hard < 0 or count * _CONTEXT_SHARE < shots:
        return frames
    order = np.argsort(_MEASURES[draws.hard](landmarks))
    if random.random() < 0.5:
        order = order[::-1]
    target = order[-1 - random.integers(max(1, int(count * _TARGET_SHARE)))]
    context = random.choice(order[: int(count * _CONTEXT_SHARE)], shots, replace=False)
    return np.append(context, target)


def pupils(
    draws: GuidedDraws, record: Record, frames: np.ndarray, variation: Variation
) -> np.ndarray:
    """Pupils float32 [K + 1, 2, 2] of `frames`, NaN where the record or this episode has none."""
    if draws.gaze and record.pupils is not None:
        return variation.pupils(record.pupils[frames])
    return np.full((len(frames), 2, 2), np.nan, np.float32)


def bend_context(draws: GuidedDraws, images, landmarks, pupils) -> None:
    """Replaces the context of a clip of one photo by the photo in synthetic motion, in place.

    Args:
      images: uint8 [K + 1, S, S, 3]; landmarks: float32 [K + 1, 68, 2]; pupils: float32
        [K + 1, 2, 2], NaN in the context afterwards: they move with the photo, by an unknown path.
    """
    moved = still_motion.moved_landmarks(landmarks[-1], draws.motion)
    images[:-1] = still_motion.bend(images[-1], landmarks[-1], moved)
    landmarks[:-1] = moved
    pupils[:-1] = np.nan
