"""The preview shows the images given, the same poses rendered, and a motion.

Picture and film are marked.
"""

import av
import numpy as np
import pytest
from PIL import Image

from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tf_talkinghead.faces.geometry import turned
from tf_talkinghead.personalization.avatar import render
from tf_talkinghead.personalization.preview import write_preview


@pytest.mark.parametrize("count", [3, 5])
def test_preview(tmp_path, count):
    """Three images and their renders share a row, five have one each."""
    avatar, _ = random_avatar("tiny")
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    landmarks = np.stack([turned(COLLINS, yaw=5 * i, pitch=3 * i) for i in range(count)]).astype(
        np.float32
    )
    picture, film = write_preview(avatar, images, landmarks, tmp_path)
    sheet = Image.open(picture)
    assert (
        "AI-generated" in sheet.info["Comment"]
        and "trainedAlgorithmicMedia" in sheet.info["Comment"]
    )
    pixels = np.asarray(sheet)
    rows = {3: 3, 5: 4}[count]
    assert pixels.shape == (rows * 32, 8 * 32, 3)
    cells = pixels.reshape(rows, 32, 8, 32, 3).swapaxes(1, 2).reshape(rows * 8, 32, 32, 3)
    beside = {3: 3, 5: 8}[count]
    assert np.array_equal(cells[:count], images) and np.array_equal(
        cells[beside : beside + count], render(avatar, landmarks)
    )
    assert (cells[beside + count : -16] == 255).all()
    moving = cells[-16:].astype(int)
    assert (np.abs(np.diff(moving, axis=0)).mean((1, 2, 3)) > 0).sum() >= 12
    with av.open(str(film)) as clip:
        # 8 s at 12.5
        assert clip.streams.video[0].frames == 100 and "AI-generated" in clip.metadata["comment"]
