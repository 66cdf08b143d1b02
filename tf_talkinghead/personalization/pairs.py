"""Training pairs of one person, for both generators: the rows of a batch, and G's frames of them.

    pairs = make_pairs(trained.config.model, images, landmarks, config)
    row = pairs.draw(rng)                            # arrays by name; stacked rows are a batch
    x_hat = pairs.synthesise(G, psi_hat, batch, y)   # [B, S, S, 3]; psi_hat [B, A], y the drawing
    x_hat = pairs.rendered(G, psi_hat, landmarks)    # as the avatar renders, of any landmarks

The paper's generator makes an image from its landmarks, so a pair is an image or a warped copy with
its landmarks. The guided one warps other images of the person: in its pairs the source is another
of the T images, never the target itself, or a copy of the target in synthetic motion. With one
image there are only such copies. The target is a real image in either case.
"""

import numpy as np
import tensorflow as tf

from tf_talkinghead.data import still_motion
from tf_talkinghead.models import source_choice
from tf_talkinghead.models.guide import make_guide
from tf_talkinghead.personalization.photos import resized_photos
from tf_talkinghead.personalization.rendering import render_direct, render_guided
from tf_talkinghead.personalization.warps import training_pairs

_COPIES = 2  # most copies in synthetic motion that one pair's target is rendered from


def make_pairs(model, images, landmarks, config, pupils=None, gaze_dropout=0.0):
    """The pairs of T images for the generator that `model` names.

    Args:
      model: ModelConfig.
      images: uint8 [T, S', S', 3]; landmarks: float32 [T, 68, 2], fractions.
      config: PersonalizeConfig.
      pupils: float32 [T, 2, 2], NaN where unknown; None: all unknown. For a guided generator.
      gaze_dropout: share of a guided generator's pairs in which pupils count as unknown.
    """
    if model.generator == "direct":
        return DirectPairs(model, images, landmarks, config)
    return GuidedPairs(model, images, landmarks, config, pupils, gaze_dropout)


class DirectPairs:
    """Images with their landmarks and, for a share `config.warp`, warped copies with theirs."""

    def __init__(self, model, images, landmarks, config):
        self.model, self.images, self.landmarks = model, images, np.float32(landmarks)
        self._warp, self._warped = config.warp, None
        if config.warp:
            settings = (config.warped_pairs, config.seed, config.warp_reach, config.warp_motion)
            self._warped = training_pairs(images, landmarks, *settings)

    def draw(self, rng):
        """One row: `image` uint8 [S, S, 3] and `landmarks` float32 [68, 2]."""
        if self._warped is not None and rng.random() < self._warp:
            images, landmarks = self._warped
            return _row(images, landmarks, rng.integers(len(images)))
        return _row(self.images, self.landmarks, rng.integers(len(self.images)))

    def each(self):
        """One row for each of the T images."""
        return [_row(self.images, self.landmarks, index) for index in range(len(self.images))]

    def synthesise(self, G, psi_hat, part, y):
        """x_hat of a batch `part` of rows."""
        return G(y, psi_hat=psi_hat)

    def rendered(self, G, psi_hat, landmarks):
        """x_hat of landmarks [B, 68, 2]."""
        return render_direct(self.model, lambda y, psi: G(y, psi_hat=psi), landmarks, psi_hat)


class GuidedPairs:
    """Every image as a target, with others or moved copies of it as the photos to warp.

    A row draws a random number of its target's other images, so that every ordered pair (source,
    target) occurs; `config.warp` is the share of rows whose photos are moved copies.
    """

    def __init__(self, model, images, landmarks, config, pupils=None, gaze_dropout=0.0):
        self.model, self.count = model, len(images)
        self.images, self.landmarks = (
            resized_photos(images, model.image_size),
            np.float32(landmarks),
        )
        self._gaze_dropout = gaze_dropout
        self._moved_share = config.warp if self.count > 1 else 1.0
        unknown = np.full((self.count, 2, 2), np.nan, np.float32)
        self.pupils = unknown if pupils is None else np.float32(pupils)
        moved, poses, self._of = self._moved_copies(config)
        # The T images, then the moved copies, whose pupils are unknown.
        photos = np.concatenate([self.images, *moved])
        self._photos = tf.constant(photos)
        self._small = tf.constant(resized_photos(photos, model.working_size))
        self._photo_landmarks = tf.constant(np.concatenate([self.landmarks, *poses]))
        gone = np.full((len(self._of), 2, 2), np.nan, np.float32)
        self._photo_pupils = tf.constant(np.concatenate([self.pupils, gone]))
        self._most = max(self.count - 1, _COPIES)

    def _moved_copies(self, config):
        """([uint8 [1, S, S, 3]], [float32 [1, 68, 2]], index of the image each was made of)."""
        rng, images, poses, of = np.random.default_rng(config.seed), [], [], []
        for number in range(config.warped_pairs if self._moved_share else 0):
            index = number % self.count
            draws = rng.standard_normal(still_motion.DRAWS)
            pose = still_motion.moved_landmarks(self.landmarks[index], draws)
            images.append(still_motion.warp(self.images[index], self.landmarks[index], pose)[None])
            poses.append(np.float32(pose)[None])
            of.append(index)
        return images, poses, np.array(of, int)

    def draw(self, rng):
        """One row of a batch.

        image uint8 [S, S, 3], landmarks float32 [68, 2] and pupils float32 [2, 2] of the target;
        context int32 [C], the photos to choose from, and sources, how many of them are valid (the
        rest is padding); window float32 [2], the place of the part that D scores.
        """
        target = rng.integers(self.count)
        copies = self.count + np.flatnonzero(self._of == target)
        if len(copies) and rng.random() < self._moved_share:
            chosen = rng.permutation(copies)[:_COPIES]
        else:
            chosen = rng.permutation(self._others(target))
        chosen = chosen[: rng.integers(1, len(chosen) + 1)]
        known = rng.random() >= self._gaze_dropout
        return self._guided_row(target, chosen, known, np.float32(rng.random(2)))

    def each(self):
        """One row for each of the T images, with all the others (or moved copies) to warp."""
        middle = np.full(2, 0.5, np.float32)
        return [self._guided_row(i, self._sources(i), True, middle) for i in range(self.count)]

    def _others(self, target):
        return np.delete(np.arange(self.count), target)

    def _sources(self, target):
        if self.count > 1:
            return self._others(target)
        return self.count + np.arange(min(len(self._of), self._most))

    def _guided_row(self, target, chosen, known, window):
        padding = np.full(self._most - len(chosen), chosen[0])
        pupils = self.pupils[target] if known else np.full((2, 2), np.nan, np.float32)
        return {
            **_row(self.images, self.landmarks, target),
            "pupils": pupils,
            "context": np.int32(np.concatenate([chosen, padding])),
            "sources": np.int32(len(chosen)),
            "window": window,
        }

    def synthesise(self, G, psi_hat, part, y):
        """x_hat of a batch `part` of rows."""
        context = part["context"]
        offered = tf.gather(self._photo_landmarks, context)  # [B, C, 68, 2]
        choice = source_choice.choose(part["landmarks"], offered, part["sources"])
        guide = make_guide(
            self.model,
            part["landmarks"],
            self._photos,
            self._photo_landmarks,
            choice._replace(rows=tf.gather(context, choice.rows, batch_dims=1)),
            part["pupils"],
            self._photo_pupils,
            self._small,
        )
        return G(y, guide, psi_hat=psi_hat)

    def rendered(self, G, psi_hat, landmarks):
        """x_hat of landmarks [B, 68, 2] from all T images."""
        images = slice(self.count)
        return render_guided(
            self.model,
            lambda y, guide, psi: G(y, guide, psi_hat=psi),
            landmarks,
            psi_hat,
            self._photos[images],
            self._small[images],
            self._photo_landmarks[images],
        )


def _row(images, landmarks, index):
    return {"image": images[index], "landmarks": np.float32(landmarks[index])}
