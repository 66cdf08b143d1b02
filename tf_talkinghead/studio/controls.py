"""Sliders, strengths and presets of the page, and the checks of what it sends.

The page draws what `describe` returns and sends numbers back; no parameter's name is in its code.
"""

import dataclasses
import math

from tf_talkinghead.driving.expression import Expression, ranges
from tf_talkinghead.driving.strengths import LIMITS, Steering
from tf_talkinghead.errors import InputError

# Name -> label, names of both ends, unit, group. Right and left lid and brow are the person's own,
# as everywhere; left and right of turns and gaze are the picture's.
_SLIDERS = {
    "yaw": ("Turn", "left", "right", "°", "Head"),
    "pitch": ("Nod", "up", "down", "°", "Head"),
    "roll": ("Tilt", "left", "right", "°", "Head"),
    "x": ("Sideways", "left", "right", "", "Head"),
    "y": ("Height", "up", "down", "", "Head"),
    "scale": ("Distance", "far", "near", "", "Head"),
    "gaze_x": ("Gaze across", "left", "right", "", "Eyes"),
    "gaze_y": ("Gaze height", "up", "down", "", "Eyes"),
    "lid_right": ("Right lid", "wide", "shut", "", "Eyes"),
    "lid_left": ("Left lid", "wide", "shut", "", "Eyes"),
    "brow_right": ("Right brow", "down", "up", "", "Brows"),
    "brow_left": ("Left brow", "down", "up", "", "Brows"),
    "jaw": ("Open", "shut", "wide", "", "Mouth"),
    "smile": ("Smile", "down", "up", "", "Mouth"),
    "mouth_width": ("Width", "narrow", "broad", "", "Mouth"),
    "pucker": ("Pucker", "flat", "pursed", "", "Mouth"),
}
_STRENGTHS = {"pose": "Head", "eyes": "Eyes", "lips": "Mouth", "brows": "Brows"}
_PRESETS = {
    "Smile": {"smile": 0.09, "mouth_width": 0.1, "lid_right": 0.15, "lid_left": 0.15},
    "Surprise": {
        "brow_right": 0.12,
        "brow_left": 0.12,
        "lid_right": -0.2,
        "lid_left": -0.2,
        "jaw": 0.2,
    },
    "Wink": {"lid_left": 0.75, "smile": 0.06, "roll": 4.0},
    "Aside": {"gaze_x": -0.15, "gaze_y": 0.0, "yaw": -8.0},
    "Doubt": {"brow_right": 0.12, "brow_left": -0.06, "roll": -5.0, "pucker": 0.04},
    "Talk": {"jaw": 0.18, "mouth_width": -0.03},
}
_GAZE = ("gaze_x", "gaze_y")
_REACH = {"x": 0.4, "y": 0.3}  # eye distances; with more the head would leave its square


def limits() -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each slider: `expression.ranges`, narrower for x and y."""
    return {
        name: (-_REACH[name], _REACH[name]) if name in _REACH else span
        for name, span in ranges().items()
    }


def describe() -> dict:
    """Sliders, strengths and presets with ranges, for the page."""
    neutral, spans, sliders = dataclasses.asdict(Expression()), limits(), []
    for name, (label, low_end, high_end, unit, group) in _SLIDERS.items():
        low, high = spans[name]
        step = 0.5 if unit else 0.005
        sliders.append(
            {
                "name": name,
                "label": label,
                "ends": [low_end, high_end],
                "unit": unit,
                "group": group,
                # Whole steps from 0, so that the slider can stand exactly at its rest value.
                "low": round(math.ceil(low / step) * step, 4),
                "high": round(math.floor(high / step) * step, 4),
                "step": step,
                # The gaze is "as in the photo" until it is touched.
                "rest": 0.0 if math.isnan(neutral[name]) else neutral[name],
                "gaze": name in _GAZE,
            }
        )
    strengths = [
        {"name": name, "label": label, "low": LIMITS[0], "high": LIMITS[1], "step": 0.05, "rest": 1}
        for name, label in _STRENGTHS.items()
    ]
    return {"sliders": sliders, "strengths": strengths, "presets": presets()}


def presets() -> list[dict]:
    """Expressions with names, each within the ranges."""
    spans = limits()
    return [
        {
            "label": label,
            "expression": {
                name: round(min(max(value, spans[name][0]), spans[name][1]), 4)
                for name, value in given.items()
            },
        }
        for label, given in _PRESETS.items()
    ]


def expression_of(given) -> Expression:
    """The Expression of {name: number}, clamped to the ranges; a name left out has its rest value.

    Raises:
      InputError: an unknown name, or a value that is no finite number.
    """
    spans, values = limits(), {}
    for name, value in _numbers(given, "expression", _SLIDERS).items():
        low, high = spans[name]
        values[name] = min(max(value, low), high)
    return Expression(**values)


def steering_of(given) -> Steering:
    """The Steering of {name: strength}; names left out are 1.

    Raises:
      InputError: an unknown name, or a strength outside 0 to 1.5.
    """
    values = _numbers(given, "strengths", _STRENGTHS)
    for name, value in values.items():
        if not LIMITS[0] <= value <= LIMITS[1]:
            raise InputError(
                f"{name}: expected a strength from {LIMITS[0]:g} to {LIMITS[1]:g}, got {value:g}"
            )
    return Steering(**values)


def _numbers(given, what, known):
    """{name: float} of a message's object."""
    if not isinstance(given, dict):
        raise InputError(f"{what}: expected names and numbers, got {type(given).__name__}")
    values = {}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"{what}: there is no {str(name)[:40]!r}; one of {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name}: expected a number, got {str(value)[:40]!r}")
        if not math.isfinite(value):
            raise InputError(f"{name}: expected a finite number, got {value}")
        values[name] = float(value)
    return values
