"""Webcam recording: a camera's frames as a video file, at the measured frame rate."""

import sys
import time

import cv2
from tqdm import tqdm

from tf_talkinghead.data import video
from tf_talkinghead.errors import InputError


def record_webcam(path, seconds: float, camera: int = 0, progress: bool = True) -> None:
    """Records `seconds` of a camera to the video file `path`, at the camera's measured frame rate.

    Raises:
      InputError: there is no such camera, or it delivers no frames.
    """
    capture = cv2.VideoCapture(camera)
    frames, started = [], None
    try:
        if not capture.isOpened():
            raise InputError(f"no webcam found (camera {camera}); give a video file as the driver")
        bar = tqdm(
            desc="recording", total=seconds, unit=" s", disable=not progress, file=sys.stderr
        )
        while started is None or time.monotonic() - started < seconds:
            good, frame = capture.read()
            if not good:
                break
            started = started or time.monotonic()
            frames.append(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
            bar.update(round(time.monotonic() - started, 1) - bar.n)
        bar.close()
    finally:
        capture.release()
    if len(frames) < 2:
        raise InputError(
            f"the webcam (camera {camera}) gave {len(frames)} frames, expected 2 or more; close "
            "other programs that use it, or give a video file as the driver"
        )
    fps = (len(frames) - 1) / max(time.monotonic() - started, 1e-3)
    decoded = (
        cv2.cvtColor(cv2.imdecode(frame, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for frame in frames
    )
    video.write_video(path, decoded, min(max(fps, 1.0), 60.0))
