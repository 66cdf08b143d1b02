"""Judging the frames a method rendered for one person: every figure of the report that belongs to one person.

Rows are {measure: mean over the judged frames}; None where a figure cannot be had (no face found, too few
other people for rank-1, no two consecutive frames).
"""

import numpy as np

from tf_talkinghead import metrics
from tf_talkinghead.evaluation.protocol import PersonClip, Split
from tf_talkinghead.faces import motion, recognition


class Judge:
    """Judges rendered frames of one person against the true ones."""

    def __init__(self, task, clip: PersonClip, chosen: Split, model, gallery):
        self.task, self.model, self.gallery = task, model, gallery
        self.truth, self.driving = clip.images[chosen.judge], clip.landmarks[chosen.judge]
        self.consecutive = chosen.consecutive
        self.mask = metrics.face_mask(self.driving, task.size)
        self.vectors = task.embed(self.truth, self.driving)
        self.known = task.embed(clip.images[chosen.learn], clip.landmarks[chosen.learn]).mean(0)

    def row(self, rendered):
        """Rendered uint8 [B,H,W,3] -> ({measure: mean over frames or None}, face vectors [B,D])."""
        ssim = metrics.ssim(self.truth, rendered)
        row = {
            "ssim": ssim,
            "ssim_face": metrics.ssim(self.truth, rendered, self.mask),
            "psnr": metrics.psnr(self.truth, rendered),
            "psnr_face": metrics.psnr(self.truth, rendered, self.mask),
            "l1": metrics.l1(self.truth, rendered),
            "l1_face": metrics.l1(self.truth, rendered, self.mask),
        }
        moved, vectors = self._moved(rendered, self.driving)
        csim = recognition.centred_cosine(vectors, self.vectors, self.task.centre)
        distance = recognition.face_distance(vectors, self.vectors)
        row |= {
            "csim": csim,
            "face_distance": distance,
            "same_person": distance < recognition.SAME_PERSON,
        }
        flicker = motion.flicker(rendered, self.truth, self.mask, self.consecutive)
        return _means(row) | moved | self._rank(vectors) | {
            "flicker": flicker,
            "per_frame_ssim": _rounded(ssim),
        }, vectors

    def cross_row(self, rendered, driving):
        """The same where somebody else drives and no true frames exist: face and landmarks only."""
        moved, vectors = self._moved(rendered, driving)
        known = np.repeat(self.known[None], len(vectors), 0)
        distance = recognition.face_distance(vectors, known)
        row = {
            "csim": recognition.centred_cosine(vectors, known, self.task.centre),
            "face_distance": distance,
            "same_person": distance < recognition.SAME_PERSON,
        }
        return _means(row) | moved | self._rank(vectors)

    def floor(self):
        """What the true frames themselves score: the detector's floor, and how like the learned-from frames they are."""
        moved, vectors = self._moved(self.truth, self.driving)
        known = np.repeat(self.known[None], len(vectors), 0)
        row = {
            "csim": recognition.centred_cosine(vectors, known, self.task.centre),
            "face_distance": recognition.face_distance(vectors, known),
        }
        return _means(row) | moved | self._rank(vectors)

    def _moved(self, rendered, driving):
        """Landmarks found anew: ({motion measures}, face vectors of the chips cut by them)."""
        found = motion.find_landmarks(rendered, self.model)
        seen = np.isfinite(found).all((1, 2))
        # Where no face is found, it is looked for where it was driven to.
        vectors = self.task.embed(rendered, np.where(seen[:, None, None], found, driving))
        moved = {
            "landmark_error": motion.landmark_error(found, driving),
            "faces_found": seen,
            "blink": motion.agreement(motion.eye_opening(found), motion.eye_opening(driving)),
            "mouth": motion.agreement(motion.mouth_opening(found), motion.mouth_opening(driving)),
            "jitter": motion.landmark_jitter(found, driving, self.consecutive)
            if len(found) == len(self.driving)
            else None,
        }
        return _means(moved), vectors

    def _rank(self, vectors):
        """Share of frames whose nearest of all people is the right one; None without enough other people."""
        if self.gallery is None:
            return {"rank_1": None}
        people = np.concatenate([self.known[None], self.gallery])
        ranks = recognition.rank_of_truth(vectors, people, 0, self.task.centre)
        return {"rank_1": float((ranks == 1).mean())}


def _means(row):
    """Means over frames, left out where a frame has none; None where no frame has one."""
    means = {}
    for name, values in row.items():
        if values is None or np.isscalar(values):
            means[name] = values
            continue
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        means[name] = round(float(values.mean()), 5) if len(values) else None
    return means


def _rounded(values):
    return [round(float(value), 4) for value in values]
