"""How far an avatar-to-be is: identity on the one side, mimicry on the other.

Tuning for longer brings the pictures nearer to the images given and, in the end, freezes the expressions (the authors'
own warning). So both are measured at every look: likeness to a held-out image and of face vectors, and whether a
detector finds the landmarks where a made-up motion asked for them.
"""

import numpy as np

from tf_talkinghead import metrics
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.faces.crops import default_landmarks
from tf_talkinghead.faces.geometry import eye_distance, neutral_frame
from tf_talkinghead.faces.recognition import centred_cosine, face_vectors

_MOTION_FRAMES = 9  # of the script: enough to meet turning, nodding, a blink and an open mouth
_MOST_IMAGES = 8


class Likeness:
    """Looks at renders of one person. images uint8 [T, H, W, 3], landmarks [T, 68, 2]; held_out: an index or None."""

    def __init__(self, images, landmarks, held_out=None):
        chosen = [held_out] if held_out is not None else list(range(min(len(images), _MOST_IMAGES)))
        self.images, self.landmarks = images[chosen], landmarks[chosen]
        self.motion = scripted_motion(landmarks[neutral_frame(landmarks)], frames=_MOTION_FRAMES)
        few = slice(0, _MOST_IMAGES)
        self.identity = face_vectors(images[few], landmarks[few]).mean(0)
        self.held_out = held_out is not None

    def look(self, render):
        """`render(landmarks [B,68,2]) -> uint8 [B,H,W,3]` measured.

        Returns ssim (of the held-out image where `held_out`, else of the images trained on), face_similarity (centred cosine
        of renders in motion to the images) and landmark_error (mean distance of detected from asked-for landmarks, in
        distances between the eyes; null where no face is found).
        """
        frames = render(np.concatenate([self.landmarks, self.motion]))
        same, moving = frames[: len(self.images)], frames[len(self.images) :]
        similarity = centred_cosine(
            face_vectors(moving[::2], self.motion[::2]), self.identity
        ).mean()
        return {
            "ssim": round(float(metrics.ssim(self.images, same).mean()), 5),
            "held_out": self.held_out,
            "face_similarity": round(float(similarity), 4),
            "landmark_error": self._mimicry(moving[1::2], self.motion[1::2]),
        }

    def _mimicry(self, frames, asked):
        model, errors = default_landmarks(), []
        for frame, points in zip(frames, asked):
            found = model.detect(frame)
            if found:
                seen = (found[0].points + 0.5) / len(frame)
                errors.append(np.linalg.norm(seen - points, axis=-1).mean() / eye_distance(points))
        return round(float(np.mean(errors)), 4) if errors else None
