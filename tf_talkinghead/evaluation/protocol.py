"""Protocol of an evaluation (Sec. 4): people, frames to learn from, frames to score.

    people = sources("datasets/held_out")            # or a folder of videos
    clip = people[0].load(128, 600)
    chosen = split(len(clip.images), config, name=people[0].clip)

A clip is split in time: the T images come from its beginning and the scored frames from its end.
Some frames between belong to neither, since neighbouring frames are nearly equal. Within the two
parts frames are drawn by a seed. The images of a smaller T are among those of a larger T. Every
frame number is written into the report.
"""

import dataclasses
import itertools
import pathlib
import zlib
from collections.abc import Callable

import cv2
import numpy as np

from tf_talkinghead.config import EvaluationConfig, PreparationConfig
from tf_talkinghead.data import listing, video
from tf_talkinghead.data.dataset import INDEX_NAME, load_dataset
from tf_talkinghead.driving.driver import STILL_FPS
from tf_talkinghead.driving.smoothing import smooth
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import crops


@dataclasses.dataclass(frozen=True)
class PersonClip:
    """Frames of one person in order of time."""

    images: np.ndarray  # uint8 RGB [n,size,size,3]
    landmarks: np.ndarray  # float32 [n,68,2], fractions of the crop
    fps: float = STILL_FPS

    def driving(self, smoothed: bool) -> np.ndarray:
        """The landmarks [n,68,2] as they drive an avatar: smoothed as in `drive`, or unchanged."""
        return smooth(self.landmarks, self.fps) if smoothed else self.landmarks


@dataclasses.dataclass(frozen=True)
class Source:
    """A person, and functions that load their frames at `size` pixels."""

    person: str
    clip: str
    frames: int  # of the whole clip; 1 is a photo
    load: Callable[[int, int], PersonClip]  # (size, limit): the first `limit` frames
    few: Callable[[int, int], PersonClip]  # (size, count): `count` frames spread over the clip


@dataclasses.dataclass(frozen=True)
class Split:
    """Frame numbers within the clip."""

    learn: list[int]  # in the order drawn: the first T are the T images
    holdout: list[int]  # scored, ascending
    shots: list[int]  # the T for which the clip is long enough

    @property
    def consecutive(self) -> np.ndarray:
        """Whether each scored frame but the first is the next after the one before, bool [n-1]."""
        return np.diff(self.holdout) == 1


def split(frames: int, config: EvaluationConfig, name: str) -> Split:
    """Chooses the frames of a clip to learn from and those to score.

    Args:
      frames: number of frames of the clip.
      config: shots, holdout, gap, learn_share, consecutive and seed are used.
      name: the clip's; part of the seed, so that a clip's frames do not depend on other clips.

    Raises:
      InputError: too few frames even for the smallest T.
    """
    usable = frames - config.gap - config.holdout
    shots = sorted(T for T in config.shots if T <= usable)
    if not shots:
        least = min(config.shots)
        raise InputError(
            f"{name}: too few frames: {least} to learn from + {config.gap} between + "
            f"{config.holdout} to score = {least + config.gap + config.holdout}, it has {frames}"
        )
    learnable = round((frames - config.gap) * config.learn_share)
    learnable = int(np.clip(learnable, shots[-1], usable))
    rng = np.random.default_rng([config.seed, zlib.crc32(name.encode())])
    learn = rng.permutation(learnable)[: shots[-1]].tolist()
    first = learnable + config.gap
    scored = _stretches(frames - first, config.holdout, config.consecutive, rng)
    return Split(learn, [first + index for index in scored], shots)


def _stretches(length, count, consecutive, rng):
    """`count` of 0..length-1, ascending: stretches of `consecutive` numbers in random places.

    The last stretch may be shorter.
    """
    pieces = [min(consecutive, count - start) for start in range(0, count, consecutive)]
    spare = length - count
    # The spare frames are distributed at random before, between and after the stretches: cut i is
    # the number of spare frames before stretch i.
    cuts = np.sort(rng.integers(0, spare + 1, len(pieces)))
    chosen, used = [], 0
    for cut, piece in zip(cuts, pieces, strict=True):
        chosen += range(int(cut) + used, int(cut) + used + piece)
        used += piece
    return chosen


def sources(data, data_config=None, manifest=None, where=None) -> list[Source]:
    """People to evaluate, each by their longest clip, sorted by name.

    Args:
      data: folder of a prepared dataset, or of videos and photos.
      data_config: PreparationConfig for cropping faces from videos; by default its defaults.
      manifest, where: choose among videos, as in `listing.list_clips`.

    Returns:
      list of Source.

    Raises:
      InputError: no readable clip, or a manifest with a prepared dataset.
    """
    data = pathlib.Path(data)
    if (data / INDEX_NAME).is_file():
        if manifest or where:
            raise InputError(
                f"--data={data}: a prepared dataset has its people already; "
                "--manifest and --where choose among videos"
            )
        return _from_dataset(load_dataset(data))
    return _from_videos(data, data_config or PreparationConfig(), manifest, where)


def _from_dataset(dataset):
    longest = {}
    for entry in dataset.clips:
        person = dataset.videos[entry.video][0]
        if person not in longest or entry.frames > longest[person].frames:
            longest[person] = entry

    def reader(entry):
        def load(size, limit):
            return _of_record(dataset.read(entry), range(min(limit, entry.frames)), size)

        def few(size, count):
            return _of_record(dataset.read(entry), _spread(entry.frames, count), size)

        return load, few

    return [
        Source(person, entry.clip, entry.frames, *reader(entry))
        for person, entry in sorted(longest.items())
    ]


def _of_record(record, positions, size):
    positions = list(positions)
    images = [resized(image, size) for image in record.images(positions)]
    landmarks = np.float32(record.landmarks[positions])
    return PersonClip(np.stack(images), landmarks, record.fps or STILL_FPS)


def _from_videos(folder, data_config, manifest, where):
    clips, _ = listing.list_clips(folder, manifest, where)
    longest = {}
    for clip in clips:
        try:
            frames = len(video.probe(folder / clip.name).times)
        except InputError:
            continue  # an unreadable file; preparing the dataset reports those
        if clip.identity not in longest or frames > longest[clip.identity][0]:
            longest[clip.identity] = (frames, clip)
    if not longest:
        raise InputError(f"--data={folder}: no readable video or photo in it")

    def reader(path):
        def load(size, limit):
            found = crops.face_crops(
                lambda: itertools.islice(video.read_video(path).frames, limit), size, data_config
            )
            fps = video.read_video(path).fps or STILL_FPS
            return PersonClip(found.images, found.landmarks, fps)

        def few(size, count):
            found = crops.face_crops(list(video.read_video(path, count).frames), size, data_config)
            return PersonClip(found.images, found.landmarks)

        return load, few

    return [
        Source(person, clip.name, frames, *reader(folder / clip.name))
        for person, (frames, clip) in sorted(longest.items())
    ]


def resized(image, size):
    """A square uint8 image [S,S,3] resampled to [size,size,3]."""
    if image.shape[0] == size:
        return np.ascontiguousarray(image)
    how = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=how)


def _spread(frames, count):
    return np.unique(np.linspace(0, frames - 1, min(count, frames)).round().astype(int)).tolist()
