"""Generated footage for tests: the portrait that ships with scikit-image, in motion."""

import cv2
import numpy as np

from tf_talkinghead.data import video


def moving_face(portrait: np.ndarray, count: int, size: int = 200, seed: int = 0) -> np.ndarray:
    """Frames of the portrait's head, shifted and turned a little, uint8 [count, size, size, 3]."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, 4)
    frames = []
    for t in np.arange(count) / 12:
        right, down, turn, zoom = np.sin(2 * np.pi * t * np.array([0.31, 0.47, 0.23, 0.17]) + phase)
        place = cv2.getRotationMatrix2D((225, 120), 6 * turn, size / 260 * (1 + 0.05 * zoom))
        place[:, 2] += np.array([size / 2 - 225 + 8 * right, size / 2 - 120 + 6 * down])
        frames.append(
            cv2.warpAffine(portrait, place, (size, size), borderMode=cv2.BORDER_REPLICATE)
        )
    return np.stack(frames)


def write_face(path, portrait, count=6, fps=25.0, **kwargs):
    """Writes a clip of `count` frames of the moving face."""
    video.write_video(path, moving_face(portrait, count, **kwargs), fps)
