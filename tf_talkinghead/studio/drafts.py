"""Drafts: the photos of a new person before the avatar is made, each checked when it arrives.

A draft's folder is removed when the avatar is made, after an hour without use, or with the studio.
"""

import base64
import pathlib
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field

import cv2
import numpy as np

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.personalization.reference_images import file_crops
from tf_talkinghead.studio import uploads
from tf_talkinghead.studio.words import plain

MOST_FILES = 32
_MOST_DRAFTS = 16
_KEPT_SECONDS = 3600.0
_SHOWN_PIXELS = 192  # of a crop on the page
_SHOWN_FRAMES = 4  # of a clip


@dataclass
class Draft:
    """The files of one new person, and what was found in each."""

    folder: pathlib.Path
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    touched: float = field(default_factory=time.monotonic)
    files: dict[str, dict] = field(default_factory=dict)  # stored name -> result of `add`
    paths: dict[str, pathlib.Path] = field(default_factory=dict)  # stored name -> file

    def good(self) -> list[pathlib.Path]:
        """The files that show one face well."""
        return [self.paths[name] for name, found in self.files.items() if found["good"]]

    def names(self) -> dict[str, str]:
        """Path -> the visitor's name of the file."""
        return {str(path): self.files[name]["name"] for name, path in self.paths.items()}


class Drafts:
    """All drafts of a studio, in folders below `folder`."""

    def __init__(self, folder: pathlib.Path):
        self._folder, self._drafts, self._lock = folder, {}, threading.Lock()

    def begin(self) -> Draft:
        """A new draft; expired drafts are removed, and the oldest if there are too many."""
        with self._lock:
            old = sorted(self._drafts.values(), key=lambda draft: draft.touched)
            late = [d for d in old if time.monotonic() - d.touched > _KEPT_SECONDS]
            for draft in {d.id: d for d in late + old[: len(old) + 1 - _MOST_DRAFTS]}.values():
                self._remove(draft.id)
            draft = Draft(self._folder)
            draft.folder = self._folder / draft.id
            draft.folder.mkdir()
            self._drafts[draft.id] = draft
            return draft

    def get(self, name: str) -> Draft:
        """The draft of that id; InputError where there is none."""
        draft = self._drafts.get(name)
        if draft is None:
            raise InputError("these photos are no longer here: add them again under New person")
        draft.touched = time.monotonic()
        return draft

    def end(self, name: str) -> None:
        """Removes a draft and its files."""
        with self._lock:
            self._remove(name)

    def _remove(self, name):
        draft = self._drafts.pop(name, None)
        if draft is not None:
            shutil.rmtree(draft.folder, ignore_errors=True)


def add(draft: Draft, stem: str, path: pathlib.Path, name: str) -> dict:
    """Checks a stored file and adds it to the draft.

    Args:
      draft: the draft.
      stem: the file's name without suffix, unique in the studio.
      path: the file.
      name: the visitor's name of it.

    Returns:
      For the page: id, name, good, why (None where good) and crops, pictures with landmarks.
    """
    try:
        if len(draft.files) >= MOST_FILES:
            raise InputError(f"{name}: not added, at most {MOST_FILES} files are taken")
        uploads.check_content(path, name)
        clip, _, _ = file_crops(path, 256, PreparationConfig(), largest=512)
        found = {"name": name, "good": True, "why": None, "crops": _shown(clip)}
    except TalkingHeadError as error:
        why = plain(error, {str(path): name}).removeprefix(f"{name}: ")
        found = {"name": name, "good": False, "why": why, "crops": []}
        path.unlink(missing_ok=True)
    found["id"] = stem
    draft.files[stem] = found
    draft.paths[stem] = path
    return found


def remove(draft: Draft, stem: str) -> None:
    """Takes one file out of a draft."""
    draft.files.pop(stem, None)
    path = draft.paths.pop(stem, None)
    if path is not None:
        path.unlink(missing_ok=True)


def _shown(clip):
    chosen = np.unique(np.linspace(0, len(clip.images) - 1, _SHOWN_FRAMES).round().astype(int))
    shown = []
    for index in chosen:
        small = cv2.resize(
            clip.images[index], (_SHOWN_PIXELS, _SHOWN_PIXELS), interpolation=cv2.INTER_AREA
        )
        jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        picture = "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
        points = np.round(clip.landmarks[index].astype(float), 4).tolist()
        shown.append({"picture": picture, "landmarks": points})
    return shown
