"""Checks a picture or film for marks of synthetic media: signature, metadata, watermark.

    finding = verify("film.mp4")
    finding.marked, finding.sentence, finding.to_dict()

Any file may be checked, made by this project or not. The watermark is searched with one key: a mark
made with another operator's private key can be found only with that key.
"""

import dataclasses
import json
import os
import pathlib
import re
import time

import av
import cv2
import numpy as np

from tf_talkinghead import provenance
from tf_talkinghead.data.photos import PHOTO_SUFFIXES
from tf_talkinghead.data.video import read_video
from tf_talkinghead.disclosure import credentials
from tf_talkinghead.errors import InputError
from tf_talkinghead.watermark.detection import Detection, detect
from tf_talkinghead.watermark.keys import PUBLIC_KEY

FRAMES = 100  # evenly spaced frames of a film that are read, at most
_LONGEST = 1280  # pixels: larger frames are shrunk before they are searched
_ENDS = 8 << 20  # bytes at both ends of a file, where XMP packets lie
_XMP_SOURCE = re.compile(rb"DigitalSourceType(=\"|>|\s)[^<\"]{0,90}trainedAlgorithmicMedia")


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of checking one file.

    Attributes:
      path: the file.
      signature: its Content Credentials.
      metadata: whether XMP, IPTC or a comment names trainedAlgorithmicMedia.
      watermark: what the detector found.
      avatar: "PERSON version N" of the watermark's id, where a models folder knows it.
      frames_per_second: speed of the watermark detection, decoding included.
    """

    path: str
    signature: credentials.Credentials
    metadata: bool
    watermark: Detection
    avatar: str | None
    frames_per_second: float

    @property
    def marked(self) -> bool:
        """Whether anything intact says that the file is synthetic."""
        signed = self.signature.state in ("valid", "unknown signer")
        return self.metadata or self.watermark.present or (signed and self.signature.ai_generated)

    @property
    def sentence(self) -> str:
        """The finding in plain words."""
        found, mark = [], self.watermark
        if self.signature.state == "broken":
            found.append("its signature is broken: it was changed after signing")
        elif self.signature.state != "none":
            vouched = (
                "" if self.signature.state == "valid" else ", whom this validator does not know"
            )
            found.append(f"signed by {self.signature.signer}{vouched}")
        if self.metadata:
            found.append("its metadata says AI-generated")
        if mark.present:
            of = f" of {self.avatar}" if self.avatar else ""
            of = of or (f", avatar {mark.id:08x}" if mark.id else "")
            of = of or (", a preview" if mark.id == 0 else ", whose avatar cannot be read")
            found.append(f"it carries tf_talkinghead's watermark{of}")
        if not mark.present:
            found.append("no watermark of this key was found")
        verdict = "marked as AI-generated" if self.marked else "not marked as AI-generated"
        return f"{self.path}: {verdict}; {'; '.join(found)}"

    def to_dict(self) -> dict:
        """For JSON."""
        mark = dataclasses.asdict(self.watermark)
        mark["id"] = None if self.watermark.id is None else f"{self.watermark.id:08x}"
        return {
            "file": self.path,
            "marked": self.marked,
            "signature": dataclasses.asdict(self.signature),
            "metadata": self.metadata,
            "watermark": mark,
            "avatar": self.avatar,
            "frames_per_second": round(self.frames_per_second, 1),
            "sentence": self.sentence,
        }


def verify(
    path: str | os.PathLike, key: bytes = PUBLIC_KEY, avatars: dict[int, str] | None = None
) -> Finding:
    """Checks one file.

    Args:
      path: a picture or film.
      key: the watermark's key.
      avatars: as returned by `known_avatars`; None: ids are not looked up.

    Raises:
      InputError: the file is no picture or film that can be read.
    """
    if not pathlib.Path(path).is_file():
        raise InputError(f"{path}: no such file")
    began, clip = time.perf_counter(), read_video(path, FRAMES)
    mark = detect((_searchable(frame) for frame in clip.frames), key)
    seconds = time.perf_counter() - began
    return Finding(
        str(path),
        credentials.read(path),
        _metadata(pathlib.Path(path)),
        mark,
        (avatars or {}).get(mark.id) if mark.id is not None else None,
        mark.frames / seconds,
    )


def known_avatars(models: str | os.PathLike) -> dict[int, str]:
    """The watermark's id of every version in a models folder -> "PERSON version N".

    Raises:
      InputError: there is no such folder.
    """
    folder = pathlib.Path(models)
    if not folder.is_dir():
        raise InputError(f"--models={models}: no such folder")
    found = {}
    for path in sorted(folder.glob("*/*/card.json")):
        try:
            mark = json.loads(path.read_text()).get("watermark") or {}
            version = f"{path.parts[-3]} version {path.parts[-2]}"
            found[int(mark["id"], 16)] = version
            for row, identity in (mark.get("rows") or {}).items():
                found[int(identity, 16)] = f"the person in row {row} of {version}"
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # a card without a mark, or damaged: it names no id
    return found


def _searchable(frame: np.ndarray) -> np.ndarray:
    longest = max(frame.shape[:2])
    if longest <= _LONGEST:
        return frame
    factor = _LONGEST / longest
    return cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _metadata(path):
    with path.open("rb") as file:
        ends = file.read(_ENDS)
        file.seek(max(file.tell(), path.stat().st_size - _ENDS))
        ends += file.read()
    if _XMP_SOURCE.search(ends):
        return True
    mark = provenance.SOURCE_TYPE
    if path.suffix.lower() in PHOTO_SUFFIXES:
        # PNG's text lies in the clear; a JPEG's comment too.
        return f"digitalSourceType={mark}".encode() in ends
    with av.open(str(path)) as container:
        comments = [*container.metadata.values()]
        comments += [text for stream in container.streams for text in stream.metadata.values()]
    return any(mark in text for text in comments)
