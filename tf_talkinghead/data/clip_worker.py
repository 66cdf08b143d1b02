"""Preparation of one clip, from its file to its record, and the process that does it clip by clip.

The result of a clip is `<hash of its name>.json` (its Outcome) and, if it is kept, `<hash>.record`
(the serialised record). Each file is written atomically, the outcome last, so a killed preparation
leaves complete clips only.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from dataclasses import dataclass

import numpy as np

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data.listing import Clip
from tf_talkinghead.errors import TalkingHeadError
from tf_talkinghead.faces import geometry
from tf_talkinghead.files import write_atomically

# Bytes of decoded frames kept between finding the face and cropping; longer clips are decoded
# twice.
_IN_MEMORY = 256 << 20


@dataclass(frozen=True)
class Outcome:
    """Outcome of a clip: what its record holds, or why it was rejected."""

    name: str
    identity: str
    video: str
    reason: str  # why it was rejected; empty when it was kept
    frames: int = 0
    length: int = 0  # bytes of its record
    face: float = 0.0  # median side of the face's square in the source, pixels
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)  # median yaw, pitch, roll, degrees
    hard_calls: int = 0  # of the slow detector
    unsure: int = 0  # frames left out because their landmarks were unreliable


@dataclass(frozen=True)
class Job:
    """The settings that all clips of a preparation share."""

    root: str  # the input folder
    work: str  # folder of outcomes and records
    config: PreparationConfig
    landmark_model: str | None = None


def outcome_path(work, name: str) -> pathlib.Path:
    """The path of a clip's outcome; its record has the same name ending in `.record`."""
    digest = hashlib.sha1(name.encode("utf-8", "surrogateescape")).hexdigest()
    return pathlib.Path(work, digest[:2], f"{digest[2:]}.json")


def read_outcome(work, name: str) -> Outcome | None:
    """The clip's outcome, or None when it has not been prepared."""
    try:
        return Outcome(**json.loads(outcome_path(work, name).read_text("utf-8")))
    except (FileNotFoundError, TypeError, ValueError):  # a damaged one is prepared again
        return None


def serve(connection) -> None:
    """A process that prepares clips until its client is gone; runs in a child of the forkserver.

    Args:
      connection: multiprocessing's Connection to a ClipProcess. It receives a Job, sends its
        process id, then receives a Clip and sends an error's text (empty for none) for each clip.
    """
    from tf_talkinghead.faces import crops

    with contextlib.suppress(EOFError, ConnectionError), connection:
        job = connection.recv()
        connection.send(os.getpid())
        while True:
            clip, error = connection.recv(), ""
            try:
                # Loaded first: its errors are the preparation's, not this clip's.
                crops.default_landmarks(job.landmark_model)
                prepare_clip(job, clip)
            except TalkingHeadError as problem:
                error = str(problem)
            connection.send(error)


def prepare_clip(job: Job, clip: Clip) -> Outcome:
    """Prepares one clip and writes its record and outcome.

    Returns:
      The Outcome. Bad input is an outcome, not an error.
    """
    record, outcome = _record(job, clip)
    path = outcome_path(job.work, clip.name)
    if record is not None:
        write_atomically(path.with_suffix(".record"), record)
    write_atomically(path, (json.dumps(dataclasses.asdict(outcome)) + "\n").encode())
    return outcome


def _record(job, clip):
    """The serialised record (None if rejected) and the outcome of a clip."""
    # Imported here: Beam's processes, which import this module, need none of these.
    from tf_talkinghead.data import records, video
    from tf_talkinghead.faces import crops, pupils
    from tf_talkinghead.faces.squares import square_of

    path = pathlib.Path(job.root, clip.name)
    try:
        source = video.probe(path)
        wanted = video.spread(source.times, job.config.max_frames)
        face = crops.face_crops(
            _frames(source, wanted),
            job.config.size,
            job.config,
            crops.default_landmarks(job.landmark_model),
            wanted,
        )
        quality = job.config.jpeg_quality
        frames = [records.encode_frame(image, quality) for image in face.images]
        names = clip.name, clip.video, clip.identity
        eyes = pupils.find_pupils(face.images, face.landmarks)
        record = records.serialize(
            records.Record(frames, face.landmarks, *names, source.fps, face.box, eyes)
        )
    except TalkingHeadError as error:
        return None, Outcome(*clip, reason=str(error).removeprefix(f"{path}: "))
    except Exception as error:  # any other error of a library: the file is rejected with its name
        return None, Outcome(*clip, reason=f"{type(error).__name__}: {str(error)[:120]}")
    angles = np.median(geometry.head_angles(face.landmarks), axis=0)
    sides = [square_of(points).side for points in face.landmarks]
    return record, Outcome(
        *clip,
        reason="",
        frames=len(frames),
        length=len(record),
        face=round(float(np.median(sides)) * face.box.side, 1),
        angles=tuple(round(float(angle), 1) for angle in angles),
        hard_calls=face.hard_calls,
        unsure=face.unsure,
    )


def _frames(source, wanted):
    """The wanted frames: a list, or, where they exceed _IN_MEMORY, a function that decodes them."""
    from tf_talkinghead.data import video

    decoder = video.decode(source, wanted)
    frames, size = [], 0
    for frame in decoder:
        frames.append(frame)
        size += frame.nbytes
        if size > _IN_MEMORY:
            return lambda: video.decode(source, wanted)
    return frames
