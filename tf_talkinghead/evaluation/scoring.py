"""Scores of the frames a method rendered for one person: every figure of a Row.

Figures are {measure: mean over the scored frames}, named as in `results.Measures`; None where a
figure cannot be measured (no face found, too few other people for rank-1, no two consecutive
frames).
"""

import numpy as np

from tf_talkinghead import metrics
from tf_talkinghead.evaluation.protocol import PersonClip, Split
from tf_talkinghead.faces import motion, recognition


class Scorer:
    """Scores rendered frames of one person against the true ones.

    Args:
      task: the evaluation's `person.Task`.
      clip: the person's frames and landmarks.
      chosen: which of them are learned from and which scored.
      model: a LandmarkModel.
      gallery: other people's face vectors [P,D], or None: no rank-1.
    """

    def __init__(self, task, clip: PersonClip, chosen: Split, model, gallery):
        self.task, self.model, self.gallery = task, model, gallery
        self.truth, self.landmarks = clip.images[chosen.holdout], clip.landmarks[chosen.holdout]
        self.driving = clip.driving(task.config.smooth)[chosen.holdout]  # what avatars are given
        self.consecutive = chosen.consecutive
        self.mask = metrics.face_mask(self.landmarks, task.size)
        self.vectors = task.embed(self.truth, self.landmarks)
        self.known = task.embed(clip.images[chosen.learn], clip.landmarks[chosen.learn]).mean(0)

    def driven_by_themselves(self, rendered):
        """Compares frames rendered from `driving` with the true frames.

        The landmarks found on them are compared with those of the true frames, and their jitter is
        the motion that `driving` does not have.

        Args:
          rendered: uint8 [B,H,W,3].

        Returns:
          (figures, SSIM of each frame as a list, face vectors [B,D]).
        """
        ssim = metrics.ssim(self.truth, rendered)
        figures = {
            "ssim": ssim,
            "ssim_face": metrics.ssim(self.truth, rendered, self.mask),
            "psnr": metrics.psnr(self.truth, rendered),
            "psnr_face": metrics.psnr(self.truth, rendered, self.mask),
            "l1": metrics.l1(self.truth, rendered),
            "l1_face": metrics.l1(self.truth, rendered, self.mask),
            "sharpness": metrics.sharpness(self.truth, rendered),
            "detail": metrics.detail(self.truth, rendered),
            "flicker": motion.flicker(rendered, self.truth, self.mask, self.consecutive),
        }
        if self.task.lpips:
            figures["lpips"] = self.task.lpips(self.truth, rendered)
        of_motion, vectors = self._motion(rendered, self.landmarks, self.driving)
        figures |= of_motion | self._identity(vectors, self.vectors)
        return _means(figures), [round(float(value), 4) for value in ssim], vectors

    def driven_by_another(self, rendered, driving):
        """Figures without true frames: identity against the T images, motion against `driving`.

        Args:
          rendered: uint8 [B,H,W,3].
          driving: float32 [B,68,2], the landmarks they were rendered from.
        """
        figures, vectors = self._motion(rendered, driving)
        return _means(figures | self._identity(vectors, self.known))

    def true_frames(self):
        """Figures of the true frames: those of a perfect result, and likeness to the T images."""
        figures, vectors = self._motion(self.truth, self.landmarks, self.driving)
        figures |= self._identity(vectors, self.known)
        del figures["same_person"]
        return _means(figures)

    def _motion(self, rendered, landmarks, driving=None):
        """(figures of landmarks found on the frames, face vectors of the faces found there).

        landmarks: those that should be found; driving: those given, where jitter is measured.
        """
        found = motion.find_landmarks(rendered, self.model)
        seen = np.isfinite(found).all((1, 2))
        # Where no face is found, the face vector is computed at the landmarks wanted.
        vectors = self.task.embed(rendered, np.where(seen[:, None, None], found, landmarks))
        figures = {
            "landmark_error": motion.landmark_error(found, landmarks),
            "faces_found": seen,
            "blink": motion.agreement(motion.eye_opening(found), motion.eye_opening(landmarks)),
            "mouth": motion.agreement(motion.mouth_opening(found), motion.mouth_opening(landmarks)),
        }
        if driving is not None:
            figures["jitter"] = motion.landmark_jitter(found, driving, self.consecutive)
        return figures, vectors

    def _identity(self, vectors, known):
        """Figures of face vectors [B,D] against those of the person, [B,D] or [D]."""
        known = np.broadcast_to(known, vectors.shape)
        distance = recognition.face_distance(vectors, known)
        return {
            "csim": recognition.centred_cosine(vectors, known, self.task.centre),
            "face_distance": distance,
            "same_person": distance < recognition.SAME_PERSON,
            "rank_1": self._rank_1(vectors),
        }

    def _rank_1(self, vectors):
        """Whether each frame's nearest person is the right one, bool [B]; None without gallery."""
        if self.gallery is None:
            return None
        people = np.concatenate([self.known[None], self.gallery])
        return recognition.rank_of_truth(vectors, people, 0, self.task.centre) == 1


def _means(figures):
    """Means over the frames for which a figure is finite, rounded; None if it is for none."""
    means = {}
    for name, values in figures.items():
        if values is None or np.isscalar(values):
            means[name] = values
            continue
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        means[name] = round(float(values.mean()), 5) if len(values) else None
    return means
