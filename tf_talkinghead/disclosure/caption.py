"""Visible disclosure: a small caption burnt into frames."""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

TEXT = "AI-generated"
_SHARE = 0.045  # height of a capital letter as a share of the frame's height


def captioned(frame: np.ndarray, text: str = TEXT) -> np.ndarray:
    """A copy of the frame, uint8 [H, W, 3], with white `text` on a darkened lower left corner."""
    height, width = frame.shape[:2]
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(height / 300))
    scale = cv2.getFontScaleFromHeight(font, max(7, round(_SHARE * height)), thickness)
    (text_width, text_height), base = cv2.getTextSize(text, font, scale, thickness)
    if text_width > 0.9 * width:
        scale *= 0.9 * width / text_width
        (text_width, text_height), base = cv2.getTextSize(text, font, scale, thickness)
    margin = max(2, text_height // 2)
    picture = np.ascontiguousarray(frame).copy()
    top = height - text_height - base - 2 * margin
    picture[top:, : text_width + 2 * margin] //= 4
    origin = (margin, height - base - margin)
    cv2.putText(picture, text, origin, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return picture


def disclosing(stream: Callable[[Iterable], Iterator[np.ndarray]]):
    """`stream` (landmarks -> frames, as `AvatarClient.stream`) with a caption in every frame."""

    def captioned_stream(landmarks):
        return map(captioned, stream(landmarks))

    return captioned_stream
