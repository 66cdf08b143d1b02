"""A film beside its landmark drawing as an animated, marked WebP."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.face_points import COLLINS
from tf_talkinghead import provenance
from tf_talkinghead.data.video import write_video
from tf_talkinghead.errors import InputError
from tf_talkinghead.personalization.moving_picture import write_moving_picture


@pytest.fixture
def made(tmp_path):
    """(film, motion, card): a film of 6 frames, 64 px, 10 a second, each of another grey."""
    frames = [np.full((64, 64, 3), 40 * t, np.uint8) for t in range(6)]
    write_video(tmp_path / "film.mp4", frames, 10)
    (tmp_path / "motion.csv").write_text("time,yaw\n0,0\n0.5,15\n")
    card = {"reference_landmarks": COLLINS.tolist()}
    (tmp_path / "card.json").write_text(json.dumps(card))
    return [tmp_path / name for name in ("film.mp4", "motion.csv", "card.json")]


def test_drawing_on_the_left_film_on_the_right(made, tmp_path):
    output = tmp_path / "pictures" / "out.webp"
    assert write_moving_picture(*made, output) == 6
    with Image.open(output) as picture:
        assert picture.size == (128, 64) and picture.n_frames == 6
        assert provenance.SOURCE_TYPE.encode() in picture.info["xmp"]
        shown = []
        for number in range(6):
            picture.seek(number)
            shown.append(np.asarray(picture.convert("RGB")))
    greys = [frame[:, 64:].mean() for frame in shown]
    np.testing.assert_allclose(greys, 40 * np.arange(6), atol=4)
    drawn = [frame[:, :64].max(-1) > 100 for frame in shown]
    assert all(10 < part.sum() < 800 for part in drawn)
    assert (drawn[0] != drawn[5]).sum() > 10  # the head has turned
    assert not list(output.parent.glob(".*"))


def test_what_does_not_fit_is_said(made, tmp_path):
    film, motion, card = made
    with pytest.raises(InputError, match=r"expected a \.webp"):
        write_moving_picture(film, motion, card, tmp_path / "out.gif")
    motion.write_text("time,yaw\n0,0\n2.0,15\n")
    with pytest.raises(InputError, match="21 poses at 10 a second, and the film has 6 frames"):
        write_moving_picture(film, motion, card, tmp_path / "out.webp")
