"""The preview shows the images given, the same poses rendered, and a motion; picture and film are marked."""

import av
import numpy as np
from PIL import Image

from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tf_talkinghead.avatar import render
from tf_talkinghead.driving import turned
from tf_talkinghead.preview import write_preview


def test_preview(tmp_path):
    avatar, _ = random_avatar("tiny")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    landmarks = np.stack([COLLINS, turned(COLLINS, yaw=10), turned(COLLINS, pitch=8)]).astype(np.float32)
    picture, film = write_preview(avatar, images, landmarks, tmp_path)
    sheet = Image.open(picture)
    assert "AI-generated" in sheet.info["Comment"] and "trainedAlgorithmicMedia" in sheet.info["Comment"]
    pixels = np.asarray(sheet)
    assert pixels.shape == (4 * 32, 8 * 32, 3)
    cells = pixels.reshape(4, 32, 8, 32, 3).swapaxes(1, 2)
    assert np.array_equal(cells[0, :3], images) and not cells[0, 3:].any()
    assert np.array_equal(cells[1, :3], render(avatar, landmarks)) and not cells[1, 3:].any()
    moving = cells[2:].reshape(16, 32, 32, 3).astype(int)
    assert (np.abs(np.diff(moving, axis=0)).mean((1, 2, 3)) > 0).sum() >= 12
    with av.open(str(film)) as clip:
        assert clip.streams.video[0].frames == 100 and "AI-generated" in clip.metadata["comment"]  # 8 s at 12.5
