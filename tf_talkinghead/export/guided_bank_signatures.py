"""Signatures of a bank of guided avatars: one generator, every member's photos and vector inside.

    serving_default    landmarks float32 [B,68,2], member int32 [B]   frames uint8 [B,S,S,3], ok [B]
    render_jpeg        the same                                       jpeg_bytes string [B], ok
    render_gaze        points float32 [B,70,2], member                frames, ok
    render_gaze_jpeg   the same                                       jpeg_bytes, ok
    describe           query int32 [B], ignored                       card string [B], JSON

`member` is the row that the card gives for a name. For a row that was never given, or whose member
was removed, ok is false, and the frame shows nobody. Otherwise as in guided_signatures.py. Rows of
different people make one batch.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.export.guided_signatures import LANDMARKS, POINTS, without_gaze
from tf_talkinghead.export.signatures import ServedGenerator, describe_signature, signature
from tf_talkinghead.models import source_choice
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.models.guide import make_guide
from tf_talkinghead.models.morphing import offsets_between
from tf_talkinghead.personalization.photos import Photos, resized_photos
from tf_talkinghead.personalization.rendering import has_face

_TURN = np.pi * (3 - np.sqrt(5)) * np.arange(LANDMARKS)
_SPREAD = 0.3 * np.sqrt((np.arange(LANDMARKS) + 0.5) / LANDMARKS)
# Landmarks [68, 2] of nobody: spread evenly over a disc, since a spline needs distinct points.
NOBODY = np.float32(0.5 + _SPREAD[:, None] * np.stack([np.cos(_TURN), np.sin(_TURN)], -1))


@dataclasses.dataclass
class GuidedMember:
    """The data of one member of the bank; the photos of all members are of one size."""

    row: int
    psi_hat: np.ndarray  # float32 [A]
    photos: Photos  # at least one
    reference: np.ndarray  # float32 [68, 2], rendered in place of landmarks that are no face


class GuidedBankRenderer(ServedGenerator):
    """Frames of the guided generator from landmarks, pupils and members' rows.

    Members lie in slots, of which slot 0 is nobody's; `slots` maps rows to slots.
    """

    def __init__(
        self,
        config,
        weights,
        dtype,
        bfloat16_compute,
        quality,
        members,
        rows,
        sources,
        size=0,
        watermark=None,
    ):
        """Builds G and the variables of all members; arguments as of `ServedGenerator`, and:

        Args:
          members: [GuidedMember].
          rows: number of rows ever given.
          sources: photos of a member, at most.
          size: S of the frames, pixels; 0: `config.image_size`.
          watermark: Embedder with an id for each slot; None leaves frames unmarked.
        """
        super().__init__(config, weights, NOBODY, dtype, bfloat16_compute, quality, watermark)
        self._sources, self._size = sources, size or config.image_size
        photo_size = members[0].photos.images.shape[1] if members else config.image_size
        grey = np.full([1, photo_size, photo_size, 3], 127, np.uint8)
        nobody = GuidedMember(
            -1,
            np.zeros(adain_size(config), np.float32),
            Photos(grey, NOBODY[None], np.full([1, 2, 2], np.nan, np.float32)),
            NOBODY,
        )
        slots = np.zeros(max(rows, 1), np.int32)
        for slot, member in enumerate(members, 1):
            slots[member.row] = slot
        everybody = [nobody, *members]
        photos = [_padded(member.photos, sources) for member in everybody]
        images = np.concatenate([each.images for each in photos])

        def constant(array, name):
            return tf.Variable(array, trainable=False, name=name)

        self.slots = constant(slots, "slots")
        self.photos = constant(images, "photos")
        self.small = constant(resized_photos(images, config.working_size), "small_photos")
        self.photo_landmarks = constant(
            np.concatenate([each.landmarks for each in photos]), "photo_landmarks"
        )
        self.photo_pupils = constant(
            np.concatenate([each.pupils for each in photos]), "photo_pupils"
        )
        self.photo_offsets = constant(np.stack([each.offsets for each in photos]), "photo_offsets")
        self.counts = constant(
            np.int32([len(member.photos) for member in everybody]), "photo_counts"
        )
        self.psi_hats = constant(np.float32([member.psi_hat for member in everybody]), "psi_hats")
        self.references = constant(
            np.float32([member.reference for member in everybody]), "references"
        )

    def frames(self, points, member):
        """points [B, 70, 2], member int32 [B] -> frames uint8 [B, S, S, 3], ok bool [B]."""
        rows = tf.shape(points)[0]
        # A convolution over zero rows fails: one row is rendered then and cut off below.
        padding = tf.cast(rows < 1, tf.int32)
        points = tf.pad(points, [[0, padding], [0, 0], [0, 0]])
        slot = self._slot(tf.pad(member, [[0, padding]]))
        landmarks, pupils = points[:, :LANDMARKS], points[:, LANDMARKS:]
        unknown = tf.reduce_all(tf.math.is_nan(pupils), [1, 2])
        known = tf.reduce_all(tf.math.is_finite(pupils), [1, 2])
        usable = has_face(landmarks) & (unknown | known)
        landmarks = tf.where(usable[:, None, None], landmarks, tf.gather(self.references, slot))
        pupils = tf.where(usable[:, None, None], pupils, np.float32(np.nan))
        x_hat = self._rendered(landmarks, pupils, slot)
        return self._as_frames(x_hat, rows, slot), (usable & (slot > 0))[:rows]

    def _slot(self, member):
        """int32 [B]: the slot of each row, 0 where there is nobody."""
        count = tf.shape(self.slots)[0]
        slot = tf.gather(self.slots, tf.clip_by_value(member, 0, count - 1))
        return tf.where((member >= 0) & (member < count), slot, 0)

    def _rendered(self, landmarks, pupils, slot):
        own = tf.reshape(self.photo_landmarks, [-1, self._sources, LANDMARKS, 2])
        choice = source_choice.choose(landmarks, tf.gather(own, slot), tf.gather(self.counts, slot))
        guide = make_guide(
            self._config,
            landmarks,
            self.photos,
            self.photo_landmarks,
            choice._replace(rows=slot[:, None] * self._sources + choice.rows),
            pupils,
            self.photo_pupils,
            self.small,
            offsets_between(tf.gather(self.photo_offsets, slot), choice.rows),
        )
        y = draw_landmarks(landmarks, self._config.working_size)
        return self._generate(y, guide, tf.gather(self.psi_hats, slot), size=self._size)


def _padded(photos, count):
    """The photos, padded to `count` with the first one; `counts` holds their true number."""
    chosen = [*range(len(photos)), *[0] * (count - len(photos))]
    return photos.chosen(chosen)


class GuidedBankModule(tf.Module):
    """The bank's signatures."""

    def __init__(self, renderer: GuidedBankRenderer, card: str):
        super().__init__(name="bank")
        self.renderer = renderer
        landmarks = tf.TensorSpec([None, LANDMARKS, 2], tf.float32, "landmarks")
        points = tf.TensorSpec([None, POINTS, 2], tf.float32, "points")
        member = tf.TensorSpec([None], tf.int32, "member")
        # One trace for all signatures, so that the file holds the graph once.
        self._frames = signature(renderer.frames, tf.TensorSpec([None, POINTS, 2]), member)
        self.endpoints = {
            "serving_default": signature(self._serving_default, landmarks, member),
            "render_jpeg": signature(self._render_jpeg, landmarks, member),
            "render_gaze": signature(self._render_gaze, points, member),
            "render_gaze_jpeg": signature(self._render_gaze_jpeg, points, member),
            "describe": describe_signature(card),
        }

    def _serving_default(self, landmarks, member):
        return self._render_gaze(without_gaze(landmarks), member)

    def _render_jpeg(self, landmarks, member):
        return self._render_gaze_jpeg(without_gaze(landmarks), member)

    def _render_gaze(self, points, member):
        frames, ok = self._frames(points, member)
        return {"frames": frames, "ok": ok}

    def _render_gaze_jpeg(self, points, member):
        frames, ok = self._frames(points, member)
        return {"jpeg_bytes": self.renderer.jpeg(frames), "ok": ok}
