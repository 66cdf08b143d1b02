"""Landmark adaptation: a driver's motion transferred to the avatar's own face shape.

    landmarks = adapt(driver, driver[neutral_frame(driver)], card["reference_landmarks"])

The paper drives with a person's own landmarks or, in its "puppeteering" figures, with those of a
similar face: points carry the shape of the face they were taken from (Sec. 5 names landmark
adaptation as what is missing). `adapt` is ours. Landmarks are float32 [T, 68, 2] or [68, 2],
fractions of the square crop. Pure numpy.
"""

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.geometry import (
    LIDS,
    LIPS,
    PARTS,
    STABLE,
    checked_landmarks,
    face_axes,
    similarity,
)

# what goes with the inner edge, how far
_UPPER_LIPS = {50: 0.8, 51: 1.0, 52: 0.8, 49: 0.4, 53: 0.4, 61: 1.0, 62: 1.0, 63: 1.0}
_LOWER_LIPS = {56: 1.0, 57: 1.0, 58: 1.0, 55: 0.6, 59: 0.6, 65: 1.0, 66: 1.0, 67: 1.0}
LID_RATIOS = (0.33, 3.0)  # a driver or an avatar at rest with lids nearly shut is no measure


def adapt(driver, driver_reference, avatar_reference, mode="relative"):
    """The driver's motion on the avatar's face: float32 [T, 68, 2].

    driver [T, 68, 2]; driver_reference [68, 2], the driver at rest; avatar_reference [68, 2], the
    avatar's neutral landmarks. "none" returns the driver's points as they are. "relative" splits
    each frame into

      head: the similarity that moves the driver's stable points from his reference to this frame;
      parts: how each facial part's centre then lies off its reference, scaled by the ratio of the
        faces;
      shape: how its points lie off that centre, scaled by the ratio of the parts;
      gaps: between the lids as a share of each person's own open eye, between the lips in widths of
        the mouth, so that what the driver closes is closed on the avatar, even one whose reference
        smiles with its teeth;

    and puts all four on the avatar's reference. So the driver's reference gives exactly the
    avatar's but for lips that part otherwise, a person driving their own reference changes nothing,
    and where the driver's face lies in his picture has no influence.
    """
    driver = checked_landmarks(driver, "driver", 3)
    driver_reference = checked_landmarks(driver_reference, "driver_reference", 2)
    avatar_reference = checked_landmarks(avatar_reference, "avatar_reference", 2)
    if mode == "none":
        return driver.astype(np.float32)
    if mode != "relative":
        raise InputError(f"adapt must be none or relative, got {mode}")
    onto_avatar = similarity(driver_reference, avatar_reference)
    driver = _move(onto_avatar, driver)
    rest = _move(onto_avatar, driver_reference)
    axes = face_axes(avatar_reference)
    anchor, avatar_anchor = rest[STABLE].mean(0), avatar_reference[STABLE].mean(0)
    ratios = _ratios(rest @ axes, avatar_reference @ axes)
    adapted = []
    for frame in driver:
        head = similarity(rest[STABLE], frame[STABLE])
        motion = (_move(_inverse(head), frame) - rest) @ axes
        face = avatar_reference @ axes + _part_motion(motion, *ratios)
        face = (
            _with_gaps(
                face, rest @ axes + motion, rest @ axes, avatar_reference @ axes, ratios[1][-1, 0]
            )
            @ axes.T
        )
        matrix, _ = head
        shift = _move(head, anchor) - anchor
        adapted.append((face - avatar_anchor) @ matrix.T + avatar_anchor + shift)
    return np.stack(adapted).astype(np.float32)


def _move(transform, points):
    matrix, offset = transform
    return points @ matrix.T + offset


def _inverse(transform):
    matrix, offset = transform
    inverse = np.linalg.inv(matrix)
    return inverse, -inverse @ offset


def _ratios(driver, avatar):
    """Avatar's size over driver's, along the face's axes: of the face [2] and of each part
    [len(PARTS), 2].
    """

    def ratio(part):
        extents = [np.ptp(face[part], axis=0) for face in (avatar, driver)]
        return np.clip(extents[0] / np.maximum(extents[1], 1e-6), 0.5, 2.0)

    parts = np.stack([ratio(part) for part in PARTS])
    # how far a mouth opens goes by its width: at rest its height says nothing
    parts[-1, 1] = parts[-1, 0]
    return ratio(slice(0, 68)), parts


def _part_motion(motion, face_ratio, part_ratios):
    """Offsets [68, 2] of a driver's points along the face's axes, rescaled to the avatar."""
    scaled = np.empty_like(motion)
    for part, ratio in zip(PARTS, part_ratios):
        centre = motion[part].mean(0)
        scaled[part] = centre * face_ratio + (motion[part] - centre) * ratio
    return scaled


def _with_gaps(face, driver, driver_rest, avatar_rest, mouth_ratio):
    """`face` [68, 2] with the driver's gaps between lids and lips.

    All along the face's axes, the driver's on the avatar's place.
    """

    def gaps(points, pairs):
        upper, lower = np.transpose(pairs)
        return points[lower, 1] - points[upper, 1]

    face = face.copy()
    for eye in (LIDS[:2], LIDS[2:]):
        open_driver, open_avatar = gaps(driver_rest, eye), gaps(avatar_rest, eye)
        ratio = np.clip(open_avatar.mean() / max(open_driver.mean(), 1e-6), *LID_RATIOS)
        wanted = open_avatar + ratio * (gaps(driver, eye) - open_driver)
        for (upper, lower), more in zip(eye, wanted - gaps(face, eye), strict=True):
            face[upper, 1] -= 0.9 * more  # the upper lid does the moving
            face[lower, 1] += 0.1 * more
    more = (mouth_ratio * gaps(driver, LIPS) - gaps(face, LIPS)).mean()
    for side, weights in ((-0.5, _UPPER_LIPS), (0.5, _LOWER_LIPS)):
        for point, weight in weights.items():
            face[point, 1] += side * weight * more
    return face
