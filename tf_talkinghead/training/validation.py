"""Evaluation during a run: SSIM and face similarity on held-out people, and picture grids.

The averaged networks are evaluated with their own converged spectral norms, feed-forward (no
fine-tuning), on episodes drawn once and kept for the whole run, without augmentation.
"""

import numpy as np
import tensorflow as tf

from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.images import grid, to_uint8
from tf_talkinghead.training.synthesis import synthesise, target_drawing

TIE = 3  # decimals to which SSIM is compared; if equal, face similarity decides


class HeldOut:
    """Evaluation of meta-learning, called as `evaluate(step)` by the loop.

    Args:
      learner: a `MetaLearner`.
      batches: {"held_out": list, "training": list} of batches (dicts of numpy arrays,
        `data/episodes.py`); either may be empty or absent.
      score: `score(real, made, landmarks) -> {name: [B]}` on uint8 frames; None: only grids.
      summaries: `Summaries`.
      grid_rows: episodes in a grid, at most.
    """

    def __init__(self, learner, batches, score, summaries, grid_rows=8):
        self.learner, self.batches, self.score, self.summaries = learner, batches, score, summaries
        self.grid_rows = grid_rows
        self._render = tf.function(self._synthesise)

    def __call__(self, step):
        """Writes grids; returns mean scores of the held-out people, {} if there are none."""
        self.learner.converge_averages()
        scores = {}
        for name, batches in self.batches.items():
            made = [self.render(batch) for batch in batches]
            if not batches:
                continue
            self.summaries.picture(step, name, episode_grid(batches, made, self.grid_rows))
            if name == "held_out" and self.score:
                scores = self._scores(batches, made)
                self.summaries.scalars(
                    step, {f"held_out/{key}": value for key, value in scores.items()}
                )
        return scores

    def render(self, batch):
        """Frames rendered by the averaged networks for a batch, uint8 [B,H,W,3]."""
        return to_uint8(
            self._render(
                {name: tf.constant(value) for name, value in batch.items() if name != "identity"}
            )
        )

    def _synthesise(self, batch):
        E, G = self.learner.averaged_embedder, self.learner.averaged_generator
        return synthesise(E, G, batch, target_drawing(batch, G.config))[0]

    def _scores(self, batches, made):
        found = [
            self.score(batch["image"], frames, batch["landmarks"])
            for batch, frames in zip(batches, made)
        ]
        return {
            name: float(np.mean(np.concatenate([np.ravel(scores[name]) for scores in found])))
            for name in found[0]
        }


def better(scores, best):
    """Whether `scores` beat `best`: by SSIM to three decimals, ties by face similarity."""
    if not best:
        return True
    return _rank(scores) > _rank(best)


def _rank(scores):
    return round(scores.get("ssim", -1.0), TIE), scores.get("face_similarity", -1.0)


def score(real, made, landmarks):
    """SSIM and centred cosine of face vectors of rendered against real frames, {name: float [B]}.

    Args:
      real, made: uint8 [B,H,W,3].
      landmarks: float32 [B,68,2], used for both.
    """
    from tf_talkinghead.faces.recognition import centred_cosine, face_vectors
    from tf_talkinghead.metrics import ssim

    similarity = np.asarray(
        centred_cosine(face_vectors(real, landmarks), face_vectors(made, landmarks))
    )
    return {"ssim": np.asarray(ssim(real, made)), "face_similarity": similarity}


def episode_grid(batches, made, rows, context=3):
    """A picture with one row per episode: `context` context frames, drawing, target, output."""
    lines = []
    for batch, frames in zip(batches, made):
        y = np.uint8(
            255 * draw_landmarks(tf.constant(batch["landmarks"]), batch["image"].shape[1]).numpy()
        )
        for i in range(len(frames)):
            shown = [
                batch["context_images"][i, k]
                for k in range(min(context, batch["context_images"].shape[1]))
            ]
            lines.append([*shown, y[i], batch["image"][i], frames[i]])
    return grid(lines[:rows])
