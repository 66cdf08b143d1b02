"""Chosen frames are sharp and differ; the first T of a clip would be neither."""

import cv2
import numpy as np

from tests.face_points import COLLINS
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.personalization import frame_selection


def _clip(portrait, motion):
    image = cv2.resize(portrait, (64, 64), interpolation=cv2.INTER_AREA)
    return np.repeat(image[None], len(motion), 0), motion


def test_the_choice_spans_the_motion(portrait):
    rest = np.repeat(COLLINS[None], 60, 0)
    images, landmarks = _clip(portrait, np.concatenate([rest, scripted_motion(COLLINS, fps=10)]))
    chosen = frame_selection.select_frames(images, landmarks, 8)
    assert len(set(chosen)) == 8 and list(chosen) == sorted(chosen)
    assert (chosen < 60).sum() <= 1  # of sixty equal frames one is enough
    yaw = landmarks[chosen, 30, 0] - landmarks[chosen][:, [0, 16], 0].mean(1)
    assert yaw.max() > 0.02 and yaw.min() < -0.02  # both sides of the turn
    opening = landmarks[chosen, 66, 1] - landmarks[chosen, 62, 1]
    assert np.ptp(opening) > 0.5 * np.ptp(landmarks[:, 66, 1] - landmarks[:, 62, 1])


def test_blurred_frames_are_left_out(portrait):
    images, landmarks = _clip(portrait, scripted_motion(COLLINS, fps=5))
    blurred = np.arange(0, len(images), 5)
    for i in blurred:
        images[i] = cv2.GaussianBlur(images[i], (0, 0), 3)
    assert not set(frame_selection.select_frames(images, landmarks, 8)) & set(blurred)
    sharp = frame_selection.sharpness(images, landmarks)
    assert sharp[blurred].max() < np.delete(sharp, blurred).min()


def test_one_frame_gone_wrong_is_not_chosen_for_being_odd(portrait):
    motion = scripted_motion(COLLINS, fps=10)
    motion[37] = np.random.default_rng(0).uniform(0, 1, (68, 2))
    assert 37 not in frame_selection.select_frames(*_clip(portrait, motion), 8)


def test_all_are_taken_where_there_are_not_more(portrait):
    images, landmarks = _clip(portrait, scripted_motion(COLLINS, frames=5))
    assert frame_selection.select_frames(images, landmarks, 5).tolist() == [0, 1, 2, 3, 4]
    assert frame_selection.select_frames(images, landmarks, 9).tolist() == [0, 1, 2, 3, 4]
    # blur and oddness give way to the count
    assert len(frame_selection.select_frames(images, landmarks, 4)) == 4
    assert len(frame_selection.select_frames(images, landmarks, 1)) == 1


def test_central_frame_is_in_the_middle():
    offsets = np.array([-3.0, -2.0, 0.1, 1.0, 5.0])[:, None, None] * 0.01
    assert frame_selection.central(COLLINS[None] + offsets) == 2
