"""Landmarks that drive an avatar: a scripted motion, and another person's motion on the avatar's own face.

Landmarks are float32 [T, 68, 2] or [68, 2], (x, y) in fractions of the square crop, y downwards.
Pure numpy: nothing here opens a video or calls a server.

    drive = scripted_motion(card["reference_landmarks"], fps=25)            # turn, nod, blink, talk
    drive = adapt(driver, driver[neutral_frame(driver)], card["reference_landmarks"])

The paper drives with a person's own landmarks or, in its "puppeteering" figures, with those of a similar face: points
carry the shape of the face they were taken from (Sec. 5 names landmark adaptation as what is missing). `adapt` is ours.
"""

import numpy as np

from tf_talkinghead.errors import InputError

# Where the 68 points of iBUG 300-W lie.
JAW, NOSE = slice(0, 17), slice(27, 36)
RIGHT_EYE, LEFT_EYE, MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)
PARTS = (JAW, slice(17, 22), slice(22, 27), NOSE, RIGHT_EYE, LEFT_EYE, MOUTH)
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))  # (upper, lower) points of both eyes
LIPS = ((61, 67), (62, 66), (63, 65))  # the same of the inner edges of the lips
_UPPER_LIPS = {50: 0.8, 51: 1.0, 52: 0.8, 49: 0.4, 53: 0.4, 61: 1.0, 62: 1.0, 63: 1.0}  # what goes with the inner edge, how far
_LOWER_LIPS = {56: 1.0, 57: 1.0, 58: 1.0, 55: 0.6, 59: 0.6, 65: 1.0, 66: 1.0, 67: 1.0}
STABLE = [27, 31, 33, 35, 36, 39, 42, 45]  # hardly moved by expression: bridge, nostrils, eye corners

# Depth of the points of an average head, towards the camera, in halves of the face's width (ours, rounded).
_HALF_JAW = [-0.65, -0.63, -0.61, -0.59, -0.53, -0.42, -0.25, -0.05]
_BROW = [-0.20, -0.10, 0.00, 0.09, 0.16]
DEPTH = np.array(
    _HALF_JAW + [0.01] + _HALF_JAW[::-1] + _BROW + _BROW[::-1]
    + [0.18, 0.29, 0.40, 0.51] + [0.28, 0.32, 0.36, 0.32, 0.28]  # nose
    + [-0.10, -0.04, -0.02, 0.00, 0.00, -0.03] + [0.00, -0.02, -0.04, -0.10, -0.03, 0.00]  # eyes
    + [-0.03, 0.22, 0.31, 0.33, 0.31, 0.22, -0.03, 0.21, 0.31, 0.32, 0.31, 0.21]  # outer lips
    + [0.07, 0.29, 0.30, 0.29, 0.07, 0.28, 0.30, 0.28],  # inner lips
    np.float64,
)
PIVOT_DEPTH = -0.9  # the head turns about the neck, which lies behind every point of the face

NOTICED = {"roll": 0.05, "ahead": 0.06, "eyes": 0.015, "level": 0.03, "mouth": 0.03, "place": 0.15}  # see neutral_frame

SCRIPT = {"turn": 2.8, "nod": 1.6, "blink": 0.6, "talk": 3.0}  # seconds each part takes
BLINK = ((0.0, 0.10, 0.14, 0.32), (0.0, 1.0, 1.0, 0.0))  # seconds, how far closed: lids shut faster than they open
SYLLABLES_PER_SECOND = 4.2
JAW_DROP = 0.18  # of half the face's width, at the widest syllable
LID_RATIOS = (0.33, 3.0)  # a driver or an avatar at rest with lids nearly shut is no measure
LIDS_MEET = 0.85  # a detector never sees a closed eye as a line
_LOWER_LIP = {55: 0.6, 56: 0.95, 57: 1.0, 58: 0.95, 59: 0.6, 65: 0.95, 66: 1.0, 67: 0.95}
_CORNERS = {48: 0.3, 54: 0.3, 60: 0.3, 64: 0.3}
_UPPER_LIP = dict.fromkeys((50, 51, 52, 61, 62, 63), -0.08)
_CHIN = {8 + side * k: w for k, w in enumerate((0.95, 0.9, 0.75, 0.55, 0.3, 0.1)) for side in (-1, 1)}
_DROP = np.zeros(68)  # how far each point follows the jaw down
for _point, _weight in {**_LOWER_LIP, **_CORNERS, **_UPPER_LIP, **_CHIN}.items():
    _DROP[_point] = _weight


def scripted_motion(reference, frames=None, fps=25, parts=tuple(SCRIPT)):
    """A motion to look at without a driver: the head turns, nods, blinks and talks.

    reference [68, 2]: the avatar's neutral landmarks. Returns float32 [frames, 68, 2]; first and last are the reference.
    With `frames` None each part takes its natural time (8 s for all four). Fewer frames than that play the same script
    faster; more repeat it at its natural speed.
    """
    reference = _landmarks(reference, "reference", 2)
    unknown = sorted(set(parts) - set(SCRIPT))
    if unknown or not parts:
        raise InputError(f"parts must be some of {', '.join(SCRIPT)}; got {', '.join(unknown) or 'none'}")
    total = sum(SCRIPT[part] for part in parts)
    natural = round(total * fps) if fps > 0 else 0
    frames = natural if frames is None else frames
    if frames < 1 or natural < 1:
        raise InputError(f"frames and fps must be above 0, got {frames} and {fps}")
    if frames <= natural:
        times = np.linspace(0.0, total, frames)
    else:
        times = np.append(np.arange(frames - 1) / fps % total, 0.0)
    yaw, pitch, closed, opened, widened = _script(times, parts)
    return np.stack([
        turned(expressed(reference, *face), yaw=yaw[t], pitch=pitch[t])
        for t, face in enumerate(zip(closed, opened, widened))
    ]).astype(np.float32)


def _script(times, parts):
    """Curves [T] over the script's seconds: yaw and pitch in degrees, lids closed, mouth opened and widened in 0..1."""
    yaw, pitch, closed, opened, widened = np.zeros((5, len(times)))
    start = 0.0
    for part in parts:
        seconds = SCRIPT[part]
        here = (times >= start) & (times <= start + seconds)
        t = times[here] - start
        u = t / seconds
        if part == "turn":
            yaw[here] = _keys(u, (0.0, 0.27, 0.73, 1.0), (0.0, 14.0, -14.0, 0.0))
        elif part == "nod":
            pitch[here] = _keys(u, (0.0, 0.3, 0.6, 0.8, 1.0), (0.0, 8.0, -2.0, 4.0, 0.0))
        elif part == "talk":
            level = _keys(u, (0.0, 0.12, 0.88, 1.0), (0.0, 1.0, 1.0, 0.0))
            stress = 0.6 + 0.25 * np.sin(5.1 * t + 0.7) + 0.15 * np.sin(12.7 * t)  # no two syllables alike
            opened[here] = level * stress * np.sin(np.pi * SYLLABLES_PER_SECOND * t) ** 2
            widened[here] = level * 0.5 * np.sin(7.9 * t + 0.4)
            yaw[here], pitch[here] = 2.0 * level * np.sin(2.3 * t), 1.5 * level * np.sin(3.1 * t)
        if "blink" in parts and part != "nod":  # one of its own, and those that come with turning and talking
            closed[here] = _keys(t - (0.14 if part == "blink" else 0.45 * seconds), *BLINK)
        start += seconds
    return yaw, pitch, closed, opened, widened


def expressed(points, closed, opened, widened):
    """The face with lids closed and mouth moved; amounts 0..1, `widened` -1 (pursed) to 1."""
    points = points.copy()
    for upper, lower in LIDS:
        gap = LIDS_MEET * closed * (points[lower] - points[upper])
        points[upper] += 0.9 * gap
        points[lower] -= 0.1 * gap
    across, down = _axes(points).T
    unit = np.linalg.norm(points[16] - points[0]) / 2.0
    mouth = points[MOUTH]
    sideways = (mouth - mouth.mean(0)) @ across
    points[MOUTH] += (0.10 * widened - 0.12 * opened) * sideways[:, None] * across
    return points + (JAW_DROP * unit * opened * _DROP)[:, None] * down


def turned(points, yaw=0.0, pitch=0.0, roll=0.0):
    """The face [68, 2] turned by degrees: yaw to the picture's right, pitch downwards, roll clockwise.

    The points get an average head's depth, turn about the neck in three dimensions, and lose the depth again.
    """
    points = _landmarks(points, "points", 2)
    unit = np.linalg.norm(points[16] - points[0]) / 2.0
    axes, centre = _axes(points), (points[0] + points[16]) / 2.0
    x, y = ((points - centre) @ axes / unit).T  # along the eye line and down the face, in halves of its width
    z = DEPTH - PIVOT_DEPTH
    a, b, c = np.deg2rad([yaw, pitch, roll])
    x, z = x * np.cos(a) + z * np.sin(a), z * np.cos(a) - x * np.sin(a)
    y, z = y * np.cos(b) + z * np.sin(b), z * np.cos(b) - y * np.sin(b)
    x, y = x * np.cos(c) - y * np.sin(c), x * np.sin(c) + y * np.cos(c)
    return (np.stack([x, y], -1) * unit) @ axes.T + centre


def neutral_frame(points):
    """Index of the frame [T, 68, 2] nearest to a face at rest: upright, looking ahead, eyes as open as usual, mouth closed.

    Each departure counts in units of what one hardly notices, given in NOTICED; lengths are shares of the face's width.
    """
    points = _landmarks(points, "points", 3)
    width = np.linalg.norm(points[:, 16] - points[:, 0], axis=-1)
    flat = np.stack([(face - face.mean(0)) @ _axes(face) for face in points]) / width[:, None, None]
    roll = [np.arctan2(*_axes(face)[::-1, 0]) for face in points]
    ahead = flat[:, [27, 30], 0].sum(1) - flat[:, [0, 16], 0].sum(1)  # nose off the middle of the jaw's ends
    eyes = np.mean([flat[:, lower, 1] - flat[:, upper, 1] for upper, lower in LIDS], axis=0)
    level = flat[:, 33, 1] - flat[:, [39, 42], 1].mean(1)  # the nose's length as seen, which a nod changes
    mouth = np.mean(flat[:, [65, 66, 67], 1] - flat[:, [63, 62, 61], 1], axis=1)
    place = points.mean(1) / width.mean()
    departures = {
        "roll": roll,
        "ahead": ahead,
        "eyes": eyes - np.percentile(eyes, 75),
        "level": level - np.median(level),
        "mouth": mouth,
        "place": np.linalg.norm(place - np.median(place, axis=0), axis=-1),
    }
    return int(np.argmin(sum(np.abs(values) / NOTICED[name] for name, values in departures.items())))


def adapt(driver, driver_reference, avatar_reference, mode="relative"):
    """The driver's motion on the avatar's face: float32 [T, 68, 2].

    driver [T, 68, 2]; driver_reference [68, 2], the driver at rest; avatar_reference [68, 2], the avatar's neutral
    landmarks. "none" returns the driver's points as they are. "relative" splits each frame into

      head: the similarity that moves the driver's stable points from his reference to this frame;
      parts: how each facial part's centre then lies off its reference, scaled by the ratio of the faces;
      shape: how its points lie off that centre, scaled by the ratio of the parts;
      gaps: between the lids as a share of each person's own open eye, between the lips in widths of the mouth, so
        that what the driver closes is closed on the avatar, even one whose reference smiles with its teeth;

    and puts all four on the avatar's reference. So the driver's reference gives exactly the avatar's but for lips that
    part otherwise, a person driving their own reference changes nothing, and where the driver's face lies in his
    picture has no influence.
    """
    driver = _landmarks(driver, "driver", 3)
    driver_reference = _landmarks(driver_reference, "driver_reference", 2)
    avatar_reference = _landmarks(avatar_reference, "avatar_reference", 2)
    if mode == "none":
        return driver.astype(np.float32)
    if mode != "relative":
        raise InputError(f"adapt must be none or relative, got {mode}")
    onto_avatar = similarity(driver_reference, avatar_reference)
    driver = _move(onto_avatar, driver)
    rest = _move(onto_avatar, driver_reference)
    axes = _axes(avatar_reference)
    anchor, avatar_anchor = rest[STABLE].mean(0), avatar_reference[STABLE].mean(0)
    ratios = _ratios(rest @ axes, avatar_reference @ axes)
    adapted = []
    for frame in driver:
        head = similarity(rest[STABLE], frame[STABLE])
        motion = (_move(_inverse(head), frame) - rest) @ axes
        face = avatar_reference @ axes + _part_motion(motion, *ratios)
        face = _with_gaps(face, rest @ axes + motion, rest @ axes, avatar_reference @ axes, ratios[1][-1, 0]) @ axes.T
        matrix, _ = head
        shift = _move(head, anchor) - anchor
        adapted.append((face - avatar_anchor) @ matrix.T + avatar_anchor + shift)
    return np.stack(adapted).astype(np.float32)


def similarity(source, target):
    """Least-squares rotation, scale and shift (Umeyama, PAMI 1991) from points [P, 2] to [P, 2]: (matrix, offset)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    # In the plane the best rotation and scale is one complex number: sum(conj(a) b) / sum(|a|^2).
    size = max((a * a).sum(), 1e-12)
    cosine, sine = (a * b).sum() / size, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / size
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    return matrix, target_mean - matrix @ source_mean


def _move(transform, points):
    matrix, offset = transform
    return points @ matrix.T + offset


def _inverse(transform):
    matrix, offset = transform
    inverse = np.linalg.inv(matrix)
    return inverse, -inverse @ offset


def _ratios(driver, avatar):
    """Avatar's size over driver's, along the face's axes: of the face [2] and of each part [len(PARTS), 2]."""
    def ratio(part):
        extents = [np.ptp(face[part], axis=0) for face in (avatar, driver)]
        return np.clip(extents[0] / np.maximum(extents[1], 1e-6), 0.5, 2.0)

    parts = np.stack([ratio(part) for part in PARTS])
    parts[-1, 1] = parts[-1, 0]  # how far a mouth opens goes by its width: at rest its height says nothing
    return ratio(slice(0, 68)), parts


def _part_motion(motion, face_ratio, part_ratios):
    """Offsets [68, 2] of a driver's points along the face's axes, rescaled to the avatar."""
    scaled = np.empty_like(motion)
    for part, ratio in zip(PARTS, part_ratios):
        centre = motion[part].mean(0)
        scaled[part] = centre * face_ratio + (motion[part] - centre) * ratio
    return scaled


def _with_gaps(face, driver, driver_rest, avatar_rest, mouth_ratio):
    """`face` [68, 2] with the driver's gaps between lids and lips; all along the face's axes, the driver's on the avatar's place."""
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


def _axes(points):
    """Columns: unit vectors along the eye line and down the face, [2, 2]."""
    across = points[LEFT_EYE].mean(0) - points[RIGHT_EYE].mean(0)
    across = across / max(np.linalg.norm(across), 1e-9)
    return np.stack([across, [-across[1], across[0]]], -1)


def _keys(u, at, values):
    """Values at key positions joined without a jerk (speed and acceleration 0 at every key); held outside."""
    at, values = np.asarray(at), np.asarray(values)
    left = np.clip(np.searchsorted(at, u, side="right") - 1, 0, len(at) - 2)
    s = np.clip((u - at[left]) / (at[left + 1] - at[left]), 0.0, 1.0)
    return values[left] + (values[left + 1] - values[left]) * s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


def _landmarks(points, name, rank):
    """float64 copy of landmarks of that rank, or an error that says what came."""
    points = np.array(points, np.float64)
    if points.ndim != rank or points.shape[-2:] != (68, 2):
        expected = "[68, 2]" if rank == 2 else "[frames, 68, 2]"
        raise InputError(f"{name} must be landmarks {expected}, got shape {list(points.shape)}")
    if not np.isfinite(points).all():
        raise InputError(f"{name} must be finite")
    return points
