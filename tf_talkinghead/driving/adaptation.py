"""Landmark adaptation: a driver's motion transferred to the avatar's own face shape.

    landmarks = adapt(driver, driver[neutral_frame(driver)], card["reference_landmarks"])

Landmarks contain the shape of the face they were detected on. The paper therefore drives an avatar
with the person's own landmarks or, in its "puppeteering" figures, with those of a similar face;
Sec. 5 leaves landmark adaptation to future work. `adapt` is this project's method. Landmarks are
float32 [T, 68, 2] or [68, 2], fractions of the square crop. Pure numpy.
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

# Landmark -> share of the inner lip edge's displacement that it follows.
_UPPER_LIPS = {50: 0.8, 51: 1.0, 52: 0.8, 49: 0.4, 53: 0.4, 61: 1.0, 62: 1.0, 63: 1.0}
_LOWER_LIPS = {56: 1.0, 57: 1.0, 58: 1.0, 55: 0.6, 59: 0.6, 65: 1.0, 66: 1.0, 67: 1.0}
# Limits of the avatar's lid gap over the driver's: nearly closed eyes in a reference would give an
# extreme ratio.
LID_RATIOS = (0.33, 3.0)


def adapt(driver, driver_reference, avatar_reference, mode="relative"):
    """Transfers the driver's motion to the avatar's face.

    Mode "relative" decomposes each frame into four components and applies them to the avatar's
    reference:

      head: the similarity that maps the driver's stable points from the reference to this frame;
      parts: the displacement of each facial part's centre, scaled by the ratio of the faces;
      shape: the displacement of a part's points from that centre, scaled by the ratio of the parts;
      gaps: between the lids relative to each person's open eye, between the lips in mouth widths:
        eyes and mouth that the driver closes are closed on the avatar, even if the avatar's
        reference has an open mouth.

    The driver's reference therefore maps to the avatar's reference (except for a different lip
    gap), driving a person with their own motion changes nothing, and the position of the driver's
    face in the image has no influence.

    Args:
      driver: float [T, 68, 2], fractions of the driver's crop.
      driver_reference: float [68, 2], the driver's neutral frame.
      avatar_reference: float [68, 2], the avatar's neutral landmarks.
      mode: "relative", or "none" to return the driver's landmarks unchanged.

    Returns:
      float32 [T, 68, 2], fractions of the avatar's frame.

    Raises:
      InputError: an unknown mode, a wrong shape, or landmarks that are not finite.
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
    """Ratios avatar / driver of extents along the face's axes: face [2], parts [len(PARTS), 2]."""

    def ratio(part):
        extents = [np.ptp(face[part], axis=0) for face in (avatar, driver)]
        return np.clip(extents[0] / np.maximum(extents[1], 1e-6), 0.5, 2.0)

    parts = np.stack([ratio(part) for part in PARTS])
    # Mouth opening scales with the mouth's width; the height of a closed mouth is not informative.
    parts[-1, 1] = parts[-1, 0]
    return ratio(slice(0, 68)), parts


def _part_motion(motion, face_ratio, part_ratios):
    """Point offsets [68, 2] along the face's axes, rescaled from the driver to the avatar."""
    scaled = np.empty_like(motion)
    for part, ratio in zip(PARTS, part_ratios):
        centre = motion[part].mean(0)
        scaled[part] = centre * face_ratio + (motion[part] - centre) * ratio
    return scaled


def _with_gaps(face, driver, driver_rest, avatar_rest, mouth_ratio):
    """`face` [68, 2] with the driver's lid and lip gaps.

    All coordinates are along the face's axes; `driver` and `driver_rest` are already aligned with
    the avatar's reference.
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
            face[upper, 1] -= 0.9 * more  # a blink moves mostly the upper lid
            face[lower, 1] += 0.1 * more
    more = (mouth_ratio * gaps(driver, LIPS) - gaps(face, LIPS)).mean()
    for side, weights in ((-0.5, _UPPER_LIPS), (0.5, _LOWER_LIPS)):
        for point, weight in weights.items():
            face[point, 1] += side * weight * more
    return face
