"""Additions to the paper's episode for a guided generator: hard and near pairs, pupils, photos.

Single photos take part by synthetic motion (still_motion.py). The random draws are made with the
episode, before its record is read, and applied to the record's frames afterwards.
"""

from dataclasses import dataclass

import numpy as np

from tf_talkinghead.config import EpisodeConfig
from tf_talkinghead.data import still_motion
from tf_talkinghead.data.augment import Variation
from tf_talkinghead.data.records import Record
from tf_talkinghead.faces.geometry import head_angles
from tf_talkinghead.faces.motion import eye_opening, mouth_opening

# Measures of a frame's landmarks: mouth, eyes, yaw. In a hard pair, target and context differ in
# one of them.
_MEASURES = (mouth_opening, eye_opening, lambda points: head_angles(points)[..., 0])
# A hard pair sorts a clip's frames by the measure and draws the target and the context from these
# shares of them, at opposite ends.
_TARGET_SHARE, _CONTEXT_SHARE = 0.1, 0.35
# A near pair's first context frame is the one nearest to the target among so many random frames, as
# if the avatar had that many photos.
_NEAR_OF = 12


@dataclass(frozen=True)
class GuidedDraws:
    """Random choices of an episode of a guided generator, beyond the paper's."""

    sources: int  # how many context frames, 1 to K and counted from the first, may serve as photos
    window: np.ndarray  # float32 [2] in 0..1, place of the part of the frame that D scores
    hard: int  # index of the measure by which this is a hard pair, or -1
    near: bool  # whether this is a near pair
    seed: int  # for the draws that depend on the clip's landmarks
    gaze: bool  # whether pupils are given
    motion: np.ndarray  # float64 [still_motion.DRAWS], standard normal: synthetic motion of a photo


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
    """The frames of a hard or near pair; `frames` for other episodes and for clips too short.

    In a hard pair the target is at one extreme of a measure, and the context frames are at the
    other. In a near pair the first context frame is near the target.

    Args:
      draws: the episode's.
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
    """Augmented pupils of `frames`, float32 [K + 1, 2, 2]; NaN where not recorded or dropped."""
    if draws.gaze and record.pupils is not None:
        return variation.pupils(record.pupils[frames])
    return np.full((len(frames), 2, 2), np.nan, np.float32)


def warp_context(draws: GuidedDraws, images, landmarks, pupils) -> None:
    """Replaces, in place, the context of a single photo by the photo in synthetic motion.

    Args:
      draws: the episode's.
      images: uint8 [K + 1, S, S, 3].
      landmarks: float32 [K + 1, 68, 2].
      pupils: float32 [K + 1, 2, 2]; NaN in the context afterwards, since the warp moves them and
        their new places are not computed.
    """
    moved = still_motion.moved_landmarks(landmarks[-1], draws.motion)
    images[:-1] = still_motion.warp(images[-1], landmarks[-1], moved)
    landmarks[:-1] = moved
    pupils[:-1] = np.nan
