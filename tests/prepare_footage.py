"""Input of preparation tests: clips of two people, a photo, and files to be rejected."""

import os
import pathlib

import numpy as np
from PIL import Image

from tests.face_footage import moving_face
from tf_talkinghead.data import video


def write_footage(root: pathlib.Path, portrait: np.ndarray) -> pathlib.Path:
    """Writes clips of two people, a photo and files to be rejected into `root`; returns `root`."""
    for place, name in enumerate(["anna/1.mp4", "anna/2.mkv", "bø/1.mp4"]):
        (root / name).parent.mkdir(exist_ok=True)
        video.write_video(root / "new.mp4", moving_face(portrait, 6, seed=place), 25)
        os.rename(root / "new.mp4", root / name)  # the type of a file is read from its content
    Image.fromarray(portrait).save(root / "loose.png")
    (root / "bad").mkdir()
    (root / "bad" / "empty.mp4").write_bytes(b"")
    (root / "bad" / "text.mp4").write_text("not a video")
    data = (root / "anna/1.mp4").read_bytes()
    (root / "bad" / "cut.mp4").write_bytes(data[: len(data) // 2])
    video.write_video(root / "bad" / "wall.mp4", np.full((6, 100, 100, 3), 90, np.uint8), 25)
    Image.fromarray(portrait[:60]).save(root / "bad" / "hair.jpg")
    Image.new("L", (10_000, 10_000)).save(root / "bad" / "enormous.png")
    (root / "bad" / "notes.txt").write_text("hello")
    for suffix in ("jpg", "png"):
        Image.fromarray(portrait).save(root / "bad" / f"twin.{suffix}")
    both = np.concatenate([portrait[:260, 90:350], portrait[:260, 90:350]], axis=1)
    Image.fromarray(both).save(root / "bad" / "two.jpg", quality=95)
    (root / "bad" / "unreadable.mp4").symlink_to(root / "nowhere.mp4")
    return root
