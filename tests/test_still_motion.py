"""Made-up motion of a photo: the warped picture shows the face where it was moved
to, and nothing else moves.
"""

import cv2
import numpy as np

from tests.face_points import COLLINS
from tf_talkinghead.data import still_motion
from tf_talkinghead.faces.geometry import eye_distance
from tf_talkinghead.faces.landmarks import DlibLandmarks


def test_no_draws_no_motion():
    moved = still_motion.moved_landmarks(COLLINS, np.zeros(still_motion.DRAWS))
    np.testing.assert_allclose(moved, COLLINS, atol=1e-6)


def test_a_detector_finds_the_face_of_the_warped_photo_where_it_was_moved_to(portrait):
    photo = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    model = DlibLandmarks()
    own = (model.detect(photo)[0].points + 0.5) / 256
    moved = still_motion.moved_landmarks(own, np.float64([1.2, -0.8, 0.7, 0.6, 0.3, 0.0]))
    assert np.linalg.norm(moved - own, axis=-1).mean() > 0.05 * eye_distance(own)
    warped = still_motion.warp(photo, own, moved)
    found = (model.detect(warped)[0].points + 0.5) / 256
    error = np.linalg.norm(found - moved, axis=-1).mean() / eye_distance(own)
    assert error < 0.03, error
    border = np.abs(warped[:, [0, -1]].astype(int) - photo[:, [0, -1]]).mean()
    assert border < 12, border


def test_motions_stay_within_what_heads_do():
    random = np.random.default_rng(0)
    far = [
        np.linalg.norm(still_motion.moved_landmarks(COLLINS, draws) - COLLINS, axis=-1).mean()
        for draws in random.standard_normal((200, still_motion.DRAWS)) * 5
    ]
    assert max(far) < eye_distance(COLLINS)
