"""Initial rows of W in variant FT (fine-tuning, Sec. 3.2): each video's own e_hat.

The paper does not say how W is initialised. The match term brings e_hat_i and W_i together, and
W_i is slow: a video's row is updated once per epoch and then moves by at most
rate / sqrt(1 - beta2), 0.006 per coordinate, or 0.5 in 75 epochs. So e_hat moves towards the
initial W rather than W towards e_hat. e_hat is a sum over 4x4 positions, and its coordinates are
near 1 (0.75 for preset `paper` before training, 1.0 to 1.7 for the demo weights). Rows of norm 1,
or of norm 0, reduce them to 0.04 within a hundred updates; then psi_hat = P e_hat, with P
spectrally normalised, hardly depends on the person. Rows that start at e_hat keep its scale, and
`w' = w_0 + e_NEW` (Sec. 3.3) resembles the rows that D was trained with.
"""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tf_talkinghead.data.augment import UNVARIED
from tf_talkinghead.data.episodes import Episode, read_episode
from tf_talkinghead.training.synthesis import embed_context

_VIDEOS = 8  # videos in one call of E


def start_rows(learner, dataset, schedule, first=0, progress=True):
    """Sets the rows of W from `first` on to e_hat of their videos, computed by the current E.

    E processes K frames of each video once. Rows of videos that `schedule` leaves out are not
    changed.

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
    """The first row of W to initialise before update `number`; None if there is none.

    It is 0 (all rows) at update `match_start`, from which the match term acts. When a run is
    resumed later, at `start`, it is `stored_rows`: the rows from there on belong to videos that
    were added to the dataset.
    """
    if number == match_start:
        return 0
    return stored_rows if number == start > match_start else None


def _context(dataset, entry, shots, size):
    """K frames evenly spread over a clip: (images uint8 [K, S, S, 3], landmarks [K, 68, 2])."""
    places = np.linspace(0, entry.frames - 1, shots).round().astype(int)
    return read_episode(dataset, Episode(entry, places, UNVARIED), size)[:2]
