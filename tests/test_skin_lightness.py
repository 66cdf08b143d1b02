"""Skin lightness: angles worked by hand, classes at their borders, painted cheeks, a report."""

import json
import types

import numpy as np
import pytest

from tests.face_points import COLLINS
from tests.moving_portrait import clip
from tests.script_runner import run_script
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import protocol, results, skin_lightness
from tf_talkinghead.evaluation.skin_lightness import (
    cheek_colour,
    class_of,
    grouped,
    measure,
    typology_angle,
)


@pytest.mark.parametrize(
    "L, b, angle",
    [(60, 10, 45.0), (50, 12, 0.0), (50 + 10 * 3**0.5, 10, 60.0), (40, 10, -45.0)],
)
def test_the_angle_by_hand(L, b, angle):
    assert typology_angle(L, b) == pytest.approx(angle)


def test_skin_without_a_hue_has_no_angle():
    assert typology_angle(70, 0.5) is None and typology_angle(70, -8) is None


@pytest.mark.parametrize(
    "angle, name",
    [
        (55.1, "very light"), (55, "light"), (41.1, "light"), (41, "intermediate"),
        (28, "tan"), (10.1, "tan"), (10, "brown"), (-29.9, "brown"), (-30, "dark"), (-90, "dark"),
    ],
)  # fmt: skip
def test_classes_at_their_borders(angle, name):
    assert class_of(angle) == name


def painted(cheeks, rest):
    """A picture with the head's sides below the eyes and above the mouth in one colour."""
    image = np.full((256, 256, 3), rest, np.uint8)
    top, bottom = COLLINS[36:48, 1].max(), COLLINS[48, 1]
    image[int(256 * top) : int(256 * bottom)] = cheeks
    return image


def test_the_colour_is_that_of_the_cheeks_alone():
    """sRGB (200, 160, 130) is L* 69, b* 21 by the published formulas (D65)."""
    L, b = cheek_colour(painted((200, 160, 130), (0, 60, 255)), COLLINS)
    assert (L, b) == (pytest.approx(lab(200, 160, 130)[0]), pytest.approx(lab(200, 160, 130)[2]))
    assert (round(L), round(b)) == (69, 21)


def lab(*rgb):
    """CIE 1976 L*a*b* of an 8-bit sRGB colour, by IEC 61966-2-1 and CIE 15."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in np.array(rgb) / 255
    ]
    matrix = [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
    X, Y, Z = np.array(matrix) @ linear / [0.95047, 1.0, 1.08883]
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (X, Y, Z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_a_face_outside_the_picture_has_no_cheeks():
    assert cheek_colour(painted((200, 160, 130), (0, 0, 0)), COLLINS + 3) is None


def test_a_person_is_the_median_of_their_frames():
    colours = [(200, 160, 130), (200, 160, 130), (90, 60, 40)]
    images = np.stack([painted(colour, (0, 0, 0)) for colour in colours])
    found = measure(protocol.PersonClip(images, np.stack([COLLINS] * 3)))
    L, _, b = lab(200, 160, 130)
    assert found.angle == pytest.approx(typology_angle(L, b), abs=0.05) and found.frames == 3
    assert found.name == "light" and found.spread > 10
    grey = measure(protocol.PersonClip(np.full_like(images, 128), np.stack([COLLINS] * 3)))
    assert grey.angle is None and grey.name == "not measured"


def test_darker_pictures_of_one_face_have_smaller_angles():
    moving = clip(8, 128)
    angles = [
        measure(protocol.PersonClip(np.uint8(moving.images * share), moving.landmarks)).angle
        for share in (1.0, 0.8, 0.6)
    ]
    assert angles == sorted(angles, reverse=True) and angles[0] - angles[-1] > 20


def test_means_by_class_by_hand():
    def row(person, method, ssim):
        others = dict.fromkeys(skin_lightness.MEASURES)
        return types.SimpleNamespace(person=person, T=1, method=method, **{**others, "ssim": ssim})

    rows = [row("a", "warp", 0.5), row("b", "warp", 0.7), row("c", "warp", 0.9)]
    rows += [row("a", "guided", 0.6), row("b", "guided", None), row("c", "guided", 0.8)]
    found = grouped(rows, {"a": "dark", "b": "dark", "c": "light"})
    short = [(item["method"], item["class"], item["people"], item["ssim"]) for item in found]
    assert short == [
        ("warp", "light", 1, 0.9),
        ("warp", "dark", 2, 0.6),
        ("guided", "light", 1, 0.8),
        ("guided", "dark", 2, 0.6),
    ]
    assert found[0]["csim"] is None


@pytest.fixture
def report(tmp_path):
    """A report of two people, whose figures are made up."""
    people = [
        results.PersonResult(
            person=person,
            clip=f"{person}.mp4",
            results=[
                results.Row(person=person, T=1, method="warp", protocol="self", ssim=ssim),
                results.Row(person=person, T=None, method="truth", protocol="self"),
                results.Row(person=person, T=1, method="warp", protocol="cross", ssim=0.1),
            ],
        )
        for person, ssim in (("a", 0.5), ("b", 0.7))
    ]
    made = results.Report(
        about=results.About(data="videos"),
        people=people,
        summary=[],
        set_distances=[],
        pictures=results.Pictures(),
    )
    (tmp_path / "report.json").write_text(json.dumps(made.to_json()))
    return tmp_path


def test_a_report_is_grouped(report, monkeypatch):
    colours = {"a": (200, 160, 130), "b": (90, 60, 40)}
    monkeypatch.setattr(
        protocol,
        "sources",
        lambda data: [
            types.SimpleNamespace(
                person=person,
                few=lambda size, count, colour=colour: protocol.PersonClip(
                    painted(colour, (0, 0, 0))[None], COLLINS[None]
                ),
            )
            for person, colour in colours.items()
            if data == "videos"
        ],
    )
    table = skin_lightness.by_lightness(report)
    assert table.people["a"].name == "light" and table.people["b"].name == "dark"
    assert [(row["class"], row["ssim"]) for row in table.rows] == [("light", 0.5), ("dark", 0.7)]
    persons = [(row["person"], row["class"], row["ssim"]) for row in table.persons]
    assert persons == [("a", "light", 0.5), ("b", "dark", 0.7)]
    assert not skin_lightness.by_lightness(report, methods=["nearest"]).rows
    assert not skin_lightness.by_lightness(report, shots=[8]).rows
    assert len(skin_lightness.by_lightness(report, shots=[1], methods=["warp"]).rows) == 2
    with pytest.raises(InputError, match="nobody called a, b"):
        skin_lightness.by_lightness(report, data="elsewhere")


def test_the_command_refuses_what_is_no_report(tmp_path):
    none, shots = run_script(
        "skin_lightness", [f"--report={tmp_path}"], [f"--report={tmp_path}", "--shots=one"]
    )
    assert shots.code == 1 and "--shots=one: expected whole numbers" in shots.stderr
    assert none.code == 1 and "expected a folder of scripts.evaluate" in none.stderr
