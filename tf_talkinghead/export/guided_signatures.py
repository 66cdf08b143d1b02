"""Signatures of a guided avatar's SavedModel, whose photos lie inside as uint8 variables.

    serving_default    landmarks float32 [B,68,2]   frames uint8 [B,S,S,3], ok bool [B]
    render_jpeg        landmarks                    jpeg_bytes string [B], ok
    render_gaze        points float32 [B,70,2]      frames, ok; rows 68 and 69: the pupils
    render_gaze_jpeg   points                       jpeg_bytes, ok
    describe           query int32 [B], ignored     card string [B], JSON

NaN in rows 68 and 69 alone means "as in the photo". A row that is no face near the picture, or not
finite elsewhere, is rendered from the reference landmarks with ok false.
"""

import functools

import numpy as np
import tensorflow as tf

from tf_talkinghead.export.signatures import ServedGenerator, describe_signature, signature
from tf_talkinghead.personalization.photos import Photos, resized_photos
from tf_talkinghead.personalization.rendering import has_face, render_guided

LANDMARKS, POINTS = 68, 70


class GuidedRenderer(ServedGenerator):
    """Frames of the guided generator from landmarks, pupils, an AdaIN vector and photos."""

    def __init__(self, config, *args, photos: Photos, size: int = 0, **options):
        """Builds G and the variables of the photos; arguments as of `ServedGenerator`, and:

        Args:
          photos: the person's; those larger than the frames are stored at the frames' size.
          size: S of the frames, pixels; 0: `config.image_size`.
        """
        super().__init__(config, *args, **options)
        self._size = size or config.image_size

        def constant(array, name):
            return tf.Variable(array, trainable=False, name=name)

        kept = resized_photos(photos.images, min(self._size, photos.images.shape[1]))
        self.photos = constant(kept, "photos")
        self.small = constant(resized_photos(photos.images, config.working_size), "small_photos")
        self.photo_landmarks = constant(np.float32(photos.landmarks), "photo_landmarks")
        self.photo_pupils = constant(np.float32(photos.pupils), "photo_pupils")
        self.photo_offsets = constant(photos.offsets, "photo_offsets")

    def frames(self, points, psi_hat):
        """points [B, 70, 2], psi_hat [A] -> frames uint8 [B, S, S, 3], ok bool [B]."""
        rows = tf.shape(points)[0]
        # A convolution over zero rows fails: one row is rendered then and cut off below.
        points = tf.pad(points, [[0, tf.cast(rows < 1, tf.int32)], [0, 0], [0, 0]])
        landmarks, pupils = points[:, :LANDMARKS], points[:, LANDMARKS:]
        # Unknown is NaN in both; infinity, or one pupil alone, is a mistake.
        unknown = tf.reduce_all(tf.math.is_nan(pupils), [1, 2])
        known = tf.reduce_all(tf.math.is_finite(pupils), [1, 2])
        ok = has_face(landmarks) & (unknown | known)
        landmarks = tf.where(ok[:, None, None], landmarks, self._reference[None])
        pupils = tf.where(ok[:, None, None], pupils, np.float32(np.nan))
        x_hat = render_guided(
            self._config,
            functools.partial(self._generate, size=self._size),
            landmarks,
            tf.repeat(psi_hat[None], tf.shape(landmarks)[0], axis=0),
            self.photos,
            self.small,
            self.photo_landmarks,
            pupils,
            self.photo_pupils,
            self.photo_offsets,
        )
        return self._as_frames(x_hat, rows), ok[:rows]


class GuidedModule(tf.Module):
    """One person's signatures; photos and AdaIN vector are stored with the weights."""

    def __init__(self, renderer: GuidedRenderer, psi_hat: np.ndarray, card: str):
        super().__init__(name="person")
        self.renderer = renderer
        self.psi_hat = tf.Variable(np.asarray(psi_hat, np.float32), trainable=False, name="psi_hat")
        landmarks = tf.TensorSpec([None, LANDMARKS, 2], tf.float32, "landmarks")
        points = tf.TensorSpec([None, POINTS, 2], tf.float32, "points")
        # One trace for all signatures, so that the file holds the graph once.
        self._frames = signature(self._render, tf.TensorSpec([None, POINTS, 2], tf.float32))
        self.endpoints = {
            "serving_default": signature(self._serving_default, landmarks),
            "render_jpeg": signature(self._render_jpeg, landmarks),
            "render_gaze": signature(self._render_gaze, points),
            "render_gaze_jpeg": signature(self._render_gaze_jpeg, points),
            "describe": describe_signature(card),
        }

    def _render(self, points):
        return self.renderer.frames(points, self.psi_hat)

    def _serving_default(self, landmarks):
        return self._render_gaze(without_gaze(landmarks))

    def _render_jpeg(self, landmarks):
        return self._render_gaze_jpeg(without_gaze(landmarks))

    def _render_gaze(self, points):
        frames, ok = self._frames(points)
        return {"frames": frames, "ok": ok}

    def _render_gaze_jpeg(self, points):
        frames, ok = self._frames(points)
        return {"jpeg_bytes": self.renderer.jpeg(frames), "ok": ok}


def without_gaze(landmarks):
    """Points [B, 70, 2] of landmarks [B, 68, 2]: pupils are NaN, "as in the photo"."""
    return tf.pad(
        landmarks, [[0, 0], [0, POINTS - LANDMARKS], [0, 0]], constant_values=np.float32(np.nan)
    )
