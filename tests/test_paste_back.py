"""Paste-back: the whole picture around a rendered square, without a visible seam."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.face_points import COLLINS
from tf_talkinghead.driving.paste_back import Ground, feathered, kept_ground, open_ground
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.cropping import CropBox, crop
from tf_talkinghead.files import sha256

BOX = CropBox(136, 40, 176)


def card_crop(picture, box=BOX, content=b""):
    size = {"width": picture.shape[1], "height": picture.shape[0]}
    return {**box._asdict(), "rotation": 0, **size, "sha256": sha256(content)}


def step_across(picture, ground):
    """Mean change that the paste made to differences of neighbours along the square's edge."""
    off = picture.astype(int) - ground.picture
    left, top, side = BOX
    inside, outside = off[top : top + side, left], off[top : top + side, left - 1]
    return np.abs(inside - outside).mean()


def test_the_picture_itself_pasted_back_is_the_picture(portrait):
    ground = Ground(portrait, card_crop(portrait))
    result = ground.pasted(crop(portrait, BOX, BOX.side))
    assert np.abs(result.astype(int) - portrait).max() <= 1
    assert ground.seam_sharpness(result) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("size", [64, 256, 512])
def test_only_the_square_changes_and_its_edge_does_not_show(portrait, size):
    """A frame that is tinted, and moved: the square's edge stays as it is in the photo."""
    ground = Ground(portrait, card_crop(portrait))
    frame = cv2.resize(crop(portrait, BOX, 256), (size, size))
    tinted = np.clip(frame.astype(int) + [25, 5, -15], 0, 255).astype(np.uint8)
    result = ground.pasted(tinted)
    left, top, side = BOX
    outside = np.ones(portrait.shape[:2], bool)
    outside[top : top + side, left : left + side] = False
    np.testing.assert_array_equal(result[outside], portrait[outside])
    assert step_across(result, ground) < 1.0
    assert ground.seam_sharpness(result) <= 1.1
    # The face keeps the frame's colours: only what surrounds it is matched to the photo.
    middle = slice(top + 70, top + 106), slice(left + 70, left + 106)
    change = (result[middle].astype(int) - portrait[middle]).mean((0, 1))
    np.testing.assert_allclose(change, [25, 5, -15], atol=6)


def test_what_has_moved_to_the_edge_is_no_tint(portrait):
    """A dark bar at the frame's left edge stays beside the face's colours, and is faded out."""
    ground = Ground(portrait, card_crop(portrait))
    frame = crop(portrait, BOX, 256)
    barred = frame.copy()
    barred[:, :20] = 255 - barred[:, :20]
    result, plain = ground.pasted(barred).astype(int), ground.pasted(frame).astype(int)
    left, top, _ = BOX
    inner = slice(top + 20, top + 120), slice(left + 30, left + 150)
    assert np.abs(result[inner] - plain[inner]).mean() < 2


def test_a_hard_paste_would_show():
    """The measure tells a visible edge: a flat grey square on a flat photo is no steeper; one
    pasted without feather is.
    """
    flat = np.full((120, 120, 3), 100, np.uint8)
    flat[::2] = 104
    ground = Ground(flat, card_crop(flat, CropBox(20, 20, 80)))
    hard = flat.copy()
    hard[26:94, 26:94] = 180
    assert ground.seam_sharpness(hard) > 1.1


def test_neck_and_shoulders_fade_in_wider_than_the_sides():
    mask = feathered(100)
    assert mask[50, 50] == 1 and max(mask[0].max(), mask[-1].max(), mask[:, 0].max()) < 0.03
    assert (mask[:, 50] < 0.5).nonzero()[0].tolist() == [*range(2), *range(89, 100)]
    assert (mask[50] < 0.5).nonzero()[0].tolist() == [*range(6), *range(94, 100)]
    # Where the picture ends before the square does there is nothing to fade to.
    assert feathered(100, (True, False, False, False))[0, 50] == 1


def test_a_square_that_reaches_over_the_picture(portrait):
    box = CropBox(-30, -20, 200)
    part = portrait[:150, :160]
    ground = Ground(part, card_crop(part, box))
    result = ground.pasted(crop(part, box, 100))
    assert result.shape == part.shape
    assert np.abs(result.astype(int) - part).mean() < 3


def test_the_ground_is_checked(portrait, tmp_path):
    path = tmp_path / "ground.png"
    Image.fromarray(portrait).save(path)
    (tmp_path / "not.png").write_text("no picture")
    right = card_crop(portrait, content=path.read_bytes())
    assert open_ground(path, right).side == 176
    with pytest.warns(UserWarning, match="not the file that the avatar was made from"):
        open_ground(path, card_crop(portrait))
    for wrong, made_from, said in (
        (path, {**right, "width": 600}, "expected a picture of 600 x 512 pixels"),
        (path, {**right, "rotation": 5}, "turned by 5 degrees"),
        (tmp_path / "none.png", right, "none.png: no such file"),
        (tmp_path / "clip.mp4", right, "no such file"),
    ):
        with pytest.raises(InputError, match=said):
            open_ground(wrong, made_from)
    with (
        pytest.warns(UserWarning),
        pytest.raises(InputError, match="--ground=.*not.png: cannot be read"),
    ):
        open_ground(tmp_path / "not.png", right)


def test_the_newest_work_folder_with_a_copy_counts(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "ground.png").touch()
    (tmp_path / "b" / "ground.jpg").touch()
    folders = [tmp_path / name for name in ("a", "b", "c")]
    assert kept_ground(folders) == tmp_path / "b" / "ground.jpg"
    assert kept_ground(folders[2:]) is None


def test_the_reference_lies_where_the_card_says(portrait):
    """COLLINS are fractions of BOX: her eyes are where they are in the photo."""
    ground = Ground(portrait, card_crop(portrait))
    eyes = COLLINS[36:48].mean(0) * ground.side + (BOX.x, BOX.y)
    assert 190 < eyes[0] < 260 and 80 < eyes[1] < 140
