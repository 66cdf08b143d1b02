"""The contact sheet shows every input and the film's frames in order."""

import numpy as np
from PIL import Image

from tf_talkinghead.data import video
from tf_talkinghead.driving.contact_sheet import CELL, write_contact_sheet


def test_inputs_above_frames_in_order(tmp_path):
    """Frame t of the film has grey level 40 + 4 t, so the sheet's cells can be read back."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (60, 60), (250, 0, 0)).save(tmp_path / "photos/a.png")
    Image.new("RGB", (60, 60), (0, 0, 250)).save(tmp_path / "photos/b.png")
    (tmp_path / "photos/notes.txt").write_text("not a picture")
    video.write_video(
        tmp_path / "film.mp4", (np.full((64, 64, 3), 40 + 4 * t, np.uint8) for t in range(47)), 25
    )
    path = write_contact_sheet(tmp_path / "sheet.png", tmp_path / "film.mp4", [tmp_path / "photos"])
    sheet = np.asarray(Image.open(path)).astype(int)
    middle = lambda row, column: sheet[row * CELL + CELL // 2, column * CELL + CELL // 2]
    assert middle(0, 0)[0] > 240 and middle(0, 1)[2] > 240
    levels = [middle(1 + place // 8, place % 8).mean() for place in range(24)]
    np.testing.assert_allclose(levels, 40 + 4 * np.arange(0, 47, 2), atol=4)


def test_a_short_film_needs_fewer_rows(tmp_path):
    video.write_video(tmp_path / "film.mp4", [np.zeros((32, 64, 3), np.uint8)] * 3, 25)
    path = write_contact_sheet(tmp_path / "sheet.png", tmp_path / "film.mp4", [])
    assert Image.open(path).size == (8 * CELL, 2 * CELL)


def test_a_single_frame_unlike_the_others_is_shown(tmp_path):
    levels = [200 if t == 30 else 60 for t in range(96)]
    video.write_video(
        tmp_path / "film.mp4", (np.full((64, 64, 3), level, np.uint8) for level in levels), 25
    )
    sheet = np.asarray(
        Image.open(write_contact_sheet(tmp_path / "sheet.png", tmp_path / "film.mp4", []))
    )
    middles = sheet[CELL + CELL // 2 :: CELL, CELL // 2 :: CELL].mean(-1)
    assert [tuple(place) for place in np.argwhere(middles > 130)] == [(0, 30 // 4)]
