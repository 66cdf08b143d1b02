"""The visible caption of films."""

import numpy as np
import pytest

from tf_talkinghead.disclosure.caption import captioned, disclosing


@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 256), (256, 512), (720, 1280)])
def test_the_caption_is_readable_in_its_corner_and_leaves_the_face(height, width):
    frame = np.full([height, width, 3], 200, np.uint8)
    shown = captioned(frame)
    changed = np.argwhere((shown != frame).any(-1))
    assert changed[:, 0].min() > 0.75 * height and changed[:, 1].min() == 0
    assert shown[changed[:, 0], changed[:, 1]].max() > 220  # white letters
    assert shown[changed[:, 0], changed[:, 1]].min() < 60  # on dark ground
    assert (frame == 200).all()


def test_a_stream_keeps_its_order_and_length():
    frames = [np.full([64, 64, 3], value, np.uint8) for value in (10, 20, 30)]
    shown = list(disclosing(lambda landmarks: iter(frames[: len(list(landmarks))]))([1, 2]))
    assert [frame[0, 0, 0] for frame in shown] == [10, 20]
