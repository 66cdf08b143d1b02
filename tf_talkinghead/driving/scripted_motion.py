"""Scripted motion: landmarks that turn, nod, blink and talk, to animate an avatar without a driver.

landmarks = scripted_motion(card["reference_landmarks"], fps=25)      # float32 [200, 68, 2]
"""

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.geometry import checked_landmarks, expressed, turned

SCRIPT = {"turn": 2.8, "nod": 1.6, "blink": 0.6, "talk": 3.0}  # duration of each part in seconds
# Key times in seconds and lid closure in 0..1: lids close faster than they open.
BLINK = ((0.0, 0.10, 0.14, 0.32), (0.0, 1.0, 1.0, 0.0))
SYLLABLES_PER_SECOND = 4.2


def scripted_motion(reference, frames=None, fps=25, parts=tuple(SCRIPT)):
    """Landmarks of an avatar that turns its head, nods, blinks and talks.

    Args:
      reference: float [68, 2], the avatar's neutral landmarks, fractions of the crop.
      frames: number of frames; by default the script's natural length (8 s for all four parts).
        Fewer frames play the script faster; more repeat it at its natural speed.
      fps: frames per second.
      parts: names of the parts to play, in order, from SCRIPT.

    Returns:
      float32 [frames, 68, 2]; the first and the last frame equal the reference.

    Raises:
      InputError: an unknown part, or `frames` or `fps` not above 0.
    """
    reference = checked_landmarks(reference, "reference", 2)
    unknown = sorted(set(parts) - set(SCRIPT))
    if unknown or not parts:
        raise InputError(
            f"parts must be some of {', '.join(SCRIPT)}; got {', '.join(unknown) or 'none'}"
        )
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
    return np.stack(
        [
            turned(expressed(reference, *face), yaw=yaw[t], pitch=pitch[t])
            for t, face in enumerate(zip(closed, opened, widened))
        ]
    ).astype(np.float32)


def _script(times, parts):
    """Animation curves at `times` (seconds), five arrays [T].

    They are yaw and pitch in degrees, and lid closure, mouth opening and mouth widening, for which
    1 is full.
    """
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
            # Vary the stress, so that syllables differ.
            stress = 0.6 + 0.25 * np.sin(5.1 * t + 0.7) + 0.15 * np.sin(12.7 * t)
            opened[here] = level * stress * np.sin(np.pi * SYLLABLES_PER_SECOND * t) ** 2
            widened[here] = level * 0.5 * np.sin(7.9 * t + 0.4)
            yaw[here], pitch[here] = 2.0 * level * np.sin(2.3 * t), 1.5 * level * np.sin(3.1 * t)
        # The blink part itself, and one blink within each turn and talk part.
        if "blink" in parts and part != "nod":
            closed[here] = _keys(t - (0.14 if part == "blink" else 0.45 * seconds), *BLINK)
        start += seconds
    return yaw, pitch, closed, opened, widened


def _keys(u, at, values):
    """Smoothstep interpolation of key values, constant outside the keys.

    Speed and acceleration are 0 at every key (quintic smoothstep).
    """
    at, values = np.asarray(at), np.asarray(values)
    left = np.clip(np.searchsorted(at, u, side="right") - 1, 0, len(at) - 2)
    s = np.clip((u - at[left]) / (at[left + 1] - at[left]), 0.0, 1.0)
    return values[left] + (values[left + 1] - values[left]) * s**3 * (10.0 - 15.0 * s + 6.0 * s**2)
