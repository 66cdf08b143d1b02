"""The copy of the whole picture in the work folder, and the card's crop of it."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import video
from tf_talkinghead.data.photos import read_photo
from tf_talkinghead.faces.cropping import CropBox, crop
from tf_talkinghead.files import sha256
from tf_talkinghead.personalization.ground import keep_ground
from tf_talkinghead.personalization.reference_images import person_images


@pytest.fixture
def photo(portrait, tmp_path):
    path = tmp_path / "me.JPG"
    Image.fromarray(portrait).save(path, quality=90)
    return path


@pytest.fixture
def clip(portrait, tmp_path):
    path = tmp_path / "me.mp4"
    frames = [
        cv2.warpAffine(portrait, np.float32([[0.7, 0, 4 * t], [0, 0.7, 0]]), (400, 300))
        for t in range(6)
    ]
    video.write_video(path, frames, 10)
    return path


@pytest.mark.parametrize("source", ["photo", "clip"])
def test_the_crop_of_the_copy_is_the_image(source, request, tmp_path):
    path = request.getfixturevalue(source)
    found = person_images([path], None, 64, PreparationConfig())
    work = tmp_path / "work"
    work.mkdir()
    (work / "ground.webp").touch()  # of a former run
    last = len(found.images) - 1
    made = keep_ground(found, last, work)
    (copy,) = work.glob("ground.*")
    assert copy.suffix == (".jpg" if source == "photo" else ".png")
    assert made["sha256"] == sha256(copy.read_bytes()) and made["rotation"] == 0
    if source == "photo":
        assert copy.read_bytes() == path.read_bytes()
    picture = read_photo(copy)
    assert picture.shape[:2] == (made["height"], made["width"])
    box = CropBox(made["x"], made["y"], made["side"])
    np.testing.assert_array_equal(crop(picture, box, 64), found.images[last])
