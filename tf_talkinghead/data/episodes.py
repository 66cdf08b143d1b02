"""Episodes of meta-learning (Sec. 3.2): K context frames and one target frame of the same clip.

Episode number `n` depends on the seed and `n` alone: its video, clip, frames and augmentation. Step
`s` with a batch of B on worker `w` of `m` takes the episodes
`(s m + w) B ... (s m + w) B + B - 1`. So a run resumes at any step without reading the episodes of
earlier steps, and m workers with batches of B see exactly what one worker with batches of m B sees.
An epoch is one episode of each video, in a new random order.

Images leave the pipeline as uint8; the training step scales them and draws the landmarks.
"""

import atexit
import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf

from tf_talkinghead.config import AugmentConfig, Config, EpisodeConfig
from tf_talkinghead.data import augment, guided_episodes, records
from tf_talkinghead.data.augment import Variation
from tf_talkinghead.data.dataset import Dataset, Entry, load_dataset
from tf_talkinghead.data.guided_episodes import GuidedDraws
from tf_talkinghead.errors import InputError

# Streams of random numbers.
_ORDER, _EPISODE = 0, 1


@dataclass(frozen=True)
class Episode:
    """One episode: the random choices, before its record is read."""

    entry: Entry
    frames: np.ndarray  # int [K + 1], positions in the clip, the target last
    variation: Variation
    guided: GuidedDraws | None = None  # further choices, for a guided generator


class Schedule:
    """The endless sequence of episodes: `schedule[n]` is episode number `n`."""

    def __init__(
        self,
        dataset: Dataset,
        shots: int,
        seed: int,
        config: EpisodeConfig,
        identities=None,
        exclude=None,
        augmented: bool = True,
        guided: bool = False,
    ):
        """Uses the videos of the people `identities` (default: all) except those in `exclude`.

        Raises:
          InputError: an unknown name, or no clip left.
        """
        self.shots, self.seed, self.config, self.guided = shots, seed, config, guided
        self.augment = config.augment if augmented else AugmentConfig()
        # Row of W -> its clips.
        self.clips: dict[int, list[Entry]] = {}
        people = _chosen_people(dataset, identities, exclude)
        for entry in dataset.clips:
            long_enough = entry.frames > shots or config.short_clips == "repeat"
            if dataset.videos[entry.video][0] in people and long_enough:
                self.clips.setdefault(entry.video, []).append(entry)
        self.rows = np.array(sorted(self.clips))
        if not len(self.rows):
            raise InputError(
                f"{dataset.folder}: no clip to train on: none of {len(dataset.clips)} clips shows "
                f"one of the {len(people)} people asked for in more than {shots} frames "
                f"(data.short_clips = {config.short_clips!r})"
            )
        self.stills = np.array(
            [row for row in self.rows if all(entry.frames == 1 for entry in self.clips[row])]
        )
        self.moving = np.setdiff1d(self.rows, self.stills)
        self._cached = (-1, self.rows)  # (epoch, its order of rows)

    def __len__(self) -> int:
        """Number of episodes in an epoch: of the videos used."""
        return len(self.rows)

    def __getitem__(self, number: int) -> Episode:
        """Episode `number`, any integer from 0 on."""
        epoch, place = divmod(int(number), len(self.rows))
        random = _random(self.seed, _EPISODE, int(number))
        clips = self.clips[int(self._row(random, epoch, place))]
        entry = clips[random.integers(len(clips))]
        frames = _frames(random, entry.frames, self.shots)
        variation = augment.draw(random, self.augment)
        draws = guided_episodes.draw(random, self.config, self.shots) if self.guided else None
        return Episode(entry, frames, variation, draws)

    def _row(self, random, epoch, place):
        """The row of W of an episode: each video once an epoch, or drawn by `still_share`."""
        share = self.config.still_share
        if not share or not len(self.stills) or not len(self.moving):
            return self._epoch_order(epoch)[place]
        return random.choice(self.stills if random.random() < share else self.moving)

    def _epoch_order(self, epoch):
        # One tuple, replaced as a whole, since several threads read and write it.
        known, order = self._cached
        if known != epoch:
            order = _random(self.seed, _ORDER, epoch).permutation(self.rows)
            self._cached = (epoch, order)
        return order


def episodes(
    dataset_dir,
    config: Config,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    identities=None,
    exclude=None,
    augment: bool = True,
    num_workers: int = 1,
    worker: int = 0,
) -> tf.data.Dataset:
    """An endless dataset of batches, from step `start_step` on; `batch_size` is this worker's.

    Elements: `context_images` uint8 [B, K, H, W, 3], `context_landmarks` float32 [B, K, 68, 2],
    `image` uint8 [B, H, W, 3], `landmarks` float32 [B, 68, 2], `index` int32 [B] (the row of W),
    `identity` string [B]. For a guided generator also `context_pupils` float32 [B, K, 2, 2] and
    `pupils` [B, 2, 2] (NaN where unknown), `sources` int32 [B] (how many of the context frames may
    serve as photos) and `window` float32 [B, 2] (the place of the part that D scores).

    Raises:
      InputError: `dataset_dir` has no dataset or no clip to train on, or its records are smaller
        than `config.model.image_size`.
    """
    dataset = load_dataset(dataset_dir)
    size = config.model.image_size
    check(dataset, size)
    guided = config.model.generator == "guided"
    shots = config.meta.shots
    schedule = Schedule(dataset, shots, seed, config.data, identities, exclude, augment, guided)

    @_stopped_at_exit
    def read(number):
        return read_episode(dataset, schedule[number], size)

    def load(local):
        step, place = local // batch_size, local % batch_size
        number = (step * num_workers + worker) * batch_size + place
        types = (tf.uint8, tf.float32, tf.int32, tf.string, tf.float32, tf.int32, tf.float32)
        images, landmarks, index, identity, *more = tf.numpy_function(read, [number], types)
        images = tf.ensure_shape(images, [shots + 1, size, size, 3])
        landmarks = tf.ensure_shape(landmarks, [shots + 1, 68, 2])
        extra = {}
        if guided:
            pupils = tf.ensure_shape(more[0], [shots + 1, 2, 2])
            extra = {
                "context_pupils": pupils[:-1],
                "pupils": pupils[-1],
                "sources": tf.ensure_shape(more[1], []),
                "window": tf.ensure_shape(more[2], [2]),
            }
        return {
            **extra,
            "context_images": images[:-1],
            "context_landmarks": landmarks[:-1],
            "image": images[-1],
            "landmarks": landmarks[-1],
            "index": tf.ensure_shape(index, []),
            "identity": tf.ensure_shape(identity, []),
        }

    numbers = tf.data.Dataset.range(start_step * batch_size, np.iinfo(np.int64).max)
    loaded = numbers.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return loaded.batch(batch_size, drop_remainder=True).prefetch(2)


def check(dataset: Dataset, size: int) -> None:
    """Raises InputError where shards are missing or the records are smaller than `size` pixels."""
    if dataset.size < size:
        raise InputError(
            f"{dataset.folder}: records of {dataset.size} px are too small for {size} px: "
            f"prepare the videos again with --size={size}"
        )
    for name in dataset.shards:
        if not (dataset.folder / name).is_file():
            raise InputError(
                f"{dataset.folder}: {name} is missing: copy the dataset whole, or prepare it anew"
            )


def read_episode(dataset: Dataset, episode: Episode, size: int):
    """Reads and decodes the frames of an episode.

    Records larger than `size` are augmented at their own size and then reduced by area averaging,
    which blurs less than augmenting at the smaller size.

    Returns:
      Images uint8 [K + 1, size, size, 3], landmarks float32 [K + 1, 68, 2], row of W int32,
      identity bytes; for a guided generator also pupils float32 [K + 1, 2, 2], the number of photos
      int32 and D's window float32 [2], otherwise three zeros in their place.
    """
    record, draws = dataset.read(episode.entry), episode.guided
    frames = episode.frames
    if draws:
        frames = guided_episodes.chosen_frames(draws, frames, record.landmarks)
    decoded = {}
    for position in set(frames.tolist()):
        image = episode.variation.image(records.decode_frame(record.frames[position]))
        decoded[position] = _shrunk(image, size)
    images = np.stack([decoded[position] for position in frames.tolist()])
    landmarks = episode.variation.landmarks(record.landmarks[frames])
    identity = record.identity.encode("utf-8", "surrogateescape")
    plain = (images, landmarks, np.int32(episode.entry.video), identity)
    if draws is None:
        return *plain, np.float32(0), np.int32(0), np.float32(0)
    pupils = guided_episodes.pupils(draws, record, frames, episode.variation)
    if len(record.frames) == 1:
        guided_episodes.warp_context(draws, images, landmarks, pupils)
    return *plain, pupils, np.int32(draws.sources), draws.window


def _shrunk(image, size):
    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _frames(random, count, shots):
    """K + 1 random positions below `count`, the target last.

    They are distinct where the clip is long enough. In a shorter clip context frames repeat, and
    the target is not among them unless the clip has one frame only.
    """
    if count > shots:
        return random.choice(count, shots + 1, replace=False)
    shuffled = random.permutation(count)
    target, others = shuffled[-1:], shuffled[:-1] if count > 1 else shuffled
    return np.concatenate([np.resize(others, shots), target])


def _chosen_people(dataset, identities, exclude):
    known = set(dataset.identities)
    chosen = known if identities is None else set(identities)
    unknown = (chosen | set(exclude or ())) - known
    if unknown:
        raise InputError(f"{dataset.folder}: no such people: {', '.join(sorted(unknown)[:5])}")
    return chosen - set(exclude or ())


def _stopped_at_exit(function):
    """Wraps `function`, called by tf.data's threads, so that no call runs while Python shuts down.

    Such a call would abort the process. Once the program ends, calls return the last result at
    once: it is not used any more, and an exception would be printed.
    """
    running, ended, last, changed = 0, False, None, threading.Condition()

    def guarded(*args):
        nonlocal running, last
        with changed:
            if ended and last is not None:
                return last
            running += 1
        try:
            last = function(*args)
            return last
        finally:
            with changed:
                running -= 1
                changed.notify_all()

    def end():
        nonlocal ended
        with changed:
            ended = True
            changed.wait_for(lambda: running == 0, timeout=5)
        # For calls that have begun but are not counted yet; without a consumer they soon stop.
        time.sleep(0.1)

    atexit.register(end)
    return guarded


def _random(seed, stream, number):
    """A random generator that depends on these three numbers alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, number])))
