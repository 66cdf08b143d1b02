"""Episodes of meta-learning (Sec. 3.2): K context frames and one target frame of the same clip.

Episode number `n` is a function of the seed and `n` alone: which video, which of its clips, which frames,
which variation. Step `s` of a batch of B on worker `w` of `m` takes the episodes
`(s m + w) B ... (s m + w) B + B - 1`. So a run starts again at any step without going through the steps
before, and m workers with batches of B see exactly what one with batches of m B sees. An epoch is one
episode of each video, in an order of its own.

Pictures leave the pipeline as uint8; the training step scales them and draws the landmarks.
"""

import atexit
import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf

from tf_talkinghead.config import AugmentConfig, Config, EpisodeConfig
from tf_talkinghead.data import augment, records, still_motion
from tf_talkinghead.data.augment import Variation
from tf_talkinghead.data.dataset import Dataset, Entry, load_dataset
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.geometry import head_angles
from tf_talkinghead.faces.motion import eye_opening, mouth_opening

_MEASURES = (
    mouth_opening,
    eye_opening,
    lambda points: head_angles(points)[..., 0],
)  # of hard pairs
_EXTREME, _OTHER_END = (
    0.1,
    0.35,
)  # shares of a clip's frames that a hard pair's target, its context come from
_ORDER, _EPISODE = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class Episode:
    """One episode, decided but not read."""

    entry: Entry
    frames: np.ndarray  # int [K + 1], positions in the clip, the target last
    variation: Variation
    guided: "GuidedDraws | None" = None  # what episodes of a guided generator have besides


@dataclass(frozen=True)
class GuidedDraws:
    """What is drawn for an episode of a guided generator beyond the paper's."""

    sources: int  # context frames that may serve as photos, the first so many
    window: np.ndarray  # float32 [2] in 0..1, where D looks
    hard: int  # which of the measures makes this pair a hard one, or -1
    seed: int  # of what depends on the clip's landmarks
    gaze: bool  # whether pupils are shown
    motion: np.ndarray  # standard normal, of a photo's made-up motion


class Schedule:
    """Which episode has which number."""

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
        """`identities` restricts the videos to these people, `exclude` leaves people out; unknown names are refused."""
        self.shots, self.seed, self.config, self.guided = shots, seed, config, guided
        self.augment = config.augment if augmented else AugmentConfig()
        self.clips: dict[int, list[Entry]] = {}  # row of W -> its clips
        people = _chosen_people(dataset, identities, exclude)
        for entry in dataset.clips:
            long_enough = entry.frames > shots or config.short_clips == "repeat"
            if dataset.videos[entry.video][0] in people and long_enough:
                self.clips.setdefault(entry.video, []).append(entry)
        self.rows = np.array(sorted(self.clips))
        if not len(self.rows):
            raise InputError(
                f"{dataset.folder}: no clip to train on: of {len(dataset.clips)} clips none is of the {len(people)} people "
                f"asked for and has more than {shots} frames (data.short_clips = {config.short_clips!r})"
            )
        self.stills = np.array(
            [row for row in self.rows if all(entry.frames == 1 for entry in self.clips[row])]
        )
        self.moving = np.setdiff1d(self.rows, self.stills)
        self._cached = (-1, self.rows)  # epoch and its order

    def __len__(self) -> int:
        """Episodes in an epoch: videos that take part."""
        return len(self.rows)

    def __getitem__(self, number: int) -> Episode:
        """Episode `number`, 0 and up without end."""
        epoch, place = divmod(int(number), len(self.rows))
        random = _random(self.seed, _EPISODE, int(number))
        clips = self.clips[int(self._row(random, epoch, place))]
        entry = clips[random.integers(len(clips))]
        frames = _frames(random, entry.frames, self.shots)
        variation = augment.draw(random, self.augment)
        return Episode(entry, frames, variation, self._guided_draws(random))

    def _row(self, random, epoch, place):
        """The row of W of an episode: every video once an epoch, or photos for a share of the episodes."""
        share = self.config.still_share
        if not share or not len(self.stills) or not len(self.moving):
            return self._epoch_order(epoch)[place]
        return random.choice(self.stills if random.random() < share else self.moving)

    def _guided_draws(self, random):
        if not self.guided:
            return None
        hard = int(random.integers(len(_MEASURES)))
        return GuidedDraws(
            sources=int(random.integers(1, self.shots + 1)),
            window=np.float32(random.random(2)),
            hard=hard if random.random() < self.config.hard_pairs else -1,
            seed=int(random.integers(2**31)),
            gaze=random.random() >= self.config.gaze_dropout,
            motion=random.standard_normal(still_motion.DRAWS),
        )

    def _epoch_order(self, epoch):
        cached = self._cached  # read and written as a whole, since several threads ask
        if cached[0] != epoch:
            cached = self._cached = (
                epoch,
                _random(self.seed, _ORDER, epoch).permutation(self.rows),
            )
        return cached[1]


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
    """Batches of episodes without end, from step `start_step` on; `batch_size` is this worker's.

    Elements: `context_images` uint8 [B, K, H, W, 3], `context_landmarks` float32 [B, K, 68, 2], `image` uint8
    [B, H, W, 3], `landmarks` float32 [B, 68, 2], `index` int32 [B] (the row of W), `identity` string [B]. For a guided
    generator also `context_pupils` float32 [B, K, 2, 2] and `pupils` [B, 2, 2] (NaN where unknown), `sources` int32 [B]
    (how many of the context frames may serve as photos) and `window` float32 [B, 2] (where D looks).

    Raises:
      InputError: no dataset there, no clip to train on, or records smaller than `config.model.image_size`.
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
    """InputError unless the dataset's shards are there and its pictures can be shown at `size` pixels."""
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
    """Images uint8 [K + 1, size, size, 3], landmarks float32 [K + 1, 68, 2], row of W int32, identity bytes, and for a
    guided generator pupils float32 [K + 1, 2, 2], the number of photos int32 and D's window float32 [2].

    Only the frames of the episode are decoded. Larger records are varied at their own size and then
    averaged over areas, which keeps the sharpness that resampling would cost.
    """
    record = dataset.read(episode.entry)
    frames = _hard_frames(episode, record.landmarks)
    decoded = {}
    for position in set(frames.tolist()):
        image = episode.variation.image(records.decode_frame(record.frames[position]))
        decoded[position] = _shrunk(image, size)
    images = np.stack([decoded[position] for position in frames.tolist()])
    landmarks = episode.variation.landmarks(record.landmarks[frames])
    identity = record.identity.encode("utf-8", "surrogateescape")
    plain = (images, landmarks, np.int32(episode.entry.video), identity)
    if episode.guided is None:
        return *plain, np.float32(0), np.int32(0), np.float32(0)
    pupils = np.full((len(frames), 2, 2), np.nan, np.float32)
    if episode.guided.gaze and record.pupils is not None:
        pupils = episode.variation.pupils(record.pupils[frames])
    if len(record.frames) == 1:  # a photo: the context is the photo bent
        moved = still_motion.moved_landmarks(landmarks[-1], episode.guided.motion)
        images[:-1] = still_motion.bend(images[-1], landmarks[-1], moved)
        landmarks[:-1] = moved
        pupils[:-1] = np.nan  # bent with the photo, so unknown
    return *plain, pupils, np.int32(episode.guided.sources), episode.guided.window


def _hard_frames(episode, landmarks):
    """The episode's frames; of a hard pair the target is extreme in one measure, and the context is at the other end."""
    count, shots = len(landmarks), len(episode.frames) - 1
    if episode.guided is None or episode.guided.hard < 0 or count * _OTHER_END < shots:
        return episode.frames
    random = np.random.default_rng(episode.guided.seed)
    order = np.argsort(_MEASURES[episode.guided.hard](landmarks))
    if random.random() < 0.5:
        order = order[::-1]
    target = order[-1 - random.integers(max(1, int(count * _EXTREME)))]
    context = random.choice(order[: int(count * _OTHER_END)], shots, replace=False)
    return np.append(context, target)


def _shrunk(image, size):
    return (
        image
        if image.shape[0] == size
        else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    )


def _frames(random, count, shots):
    """K + 1 positions below `count`, the target last: all different when the clip allows, else the target only once."""
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
    """`function`, called by tf.data's threads, kept from running into the interpreter's end, which would abort the process.

    Once the program ends, calls get the last answer at once: nobody waits for it, and an error would be printed.
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
        time.sleep(
            0.1
        )  # for calls that are on their way; without a consumer there are soon no more of them

    atexit.register(end)
    return guarded


def _random(seed, stream, number):
    """A generator that depends on these three alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, number])))
