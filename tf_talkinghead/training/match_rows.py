"""Rows of W at the start of the fine-tuning variant (FT, Sec. 3.2): each video's own e_hat.

The paper does not say how W starts. The match term pulls e_hat_i and W_i together, and W_i is slow:
a video's row is touched once an epoch and then moves by at most rate / sqrt(1 - beta2), 0.006 a
coordinate, 0.5 in 75 epochs. So where W starts is where e_hat ends up. A sum over 4x4 positions
makes coordinates of e_hat near 1 (0.75 for preset `paper` before training, 1.0 to 1.7 for the demo
weights); rows of norm 1, or of 0, drag them to 0.04 within a hundred updates, and psi_hat = P
e_hat, P being spectrally normalised, then hardly depends on the person. Rows that start at e_hat
keep its scale, and `w' = w_0 + e_NEW` (Sec. 3.3) is a row as D knows them.
"""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tf_talkinghead.data.augment import UNVARIED
from tf_talkinghead.data.episodes import Episode, read_episode
from tf_talkinghead.training.synthesis import embed_context

_VIDEOS = 8  # in one call of E


def start_rows(learner, dataset, schedule, first=0, progress=True):
    """Sets the rows of W from `first` on to e_hat of their videos, by E as it stands.

    Takes one pass of E over K frames of each video; rows of videos that `schedule` leaves out stay.

    Args:
      learner: MetaLearner.
      dataset: Dataset the episodes come from.
      schedule: Schedule of the training episodes; names the videos, their clips and K.
      first: rows below it are left as they are.
      progress: whether a progress bar is shown.
    """
    size = learner.config.model.image_size
    embed = tf.function(
        lambda images, landmarks: embed_context(learner.embedder, images, landmarks),
        reduce_retracing=True,
    )
    rows = [int(row) for row in schedule.rows if row >= first]
    W = learner.discriminator.W.numpy()
    with tqdm(total=len(rows), desc="rows of W", unit="video", disable=not progress) as bar:
        for start in range(0, len(rows), _VIDEOS):
            part = rows[start : start + _VIDEOS]
            read = [_context(dataset, schedule.clips[row][0], schedule.shots, size) for row in part]
            images, landmarks = (np.stack(column) for column in zip(*read, strict=True))
            W[part] = embed(tf.constant(images), tf.constant(landmarks)).numpy()
            bar.update(len(part))
    learner.discriminator.W.assign(W)


def first_new_row(number, start, stored_rows, match_start):
    """The first row of W that gets its start before update `number`, or None.

    All rows at `match_start`, the update from which the match term acts; later, when a run is
    resumed at `start`, the rows its snapshot has not: videos that were added to the dataset.
    """
    if number == match_start:
        return 0
    return stored_rows if number == start > match_start else None


def _context(dataset, entry, shots, size):
    """(images uint8 [K, S, S, 3], landmarks float32 [K, 68, 2]): K frames evenly spread over a
    clip.
    """
    places = np.linspace(0, entry.frames - 1, shots).round().astype(int)
    return read_episode(dataset, Episode(entry, places, UNVARIED), size)[:2]
