"""Fine-tuning progress: identity preservation and expression fidelity.

Longer fine-tuning brings the frames nearer to the given images and, in the end, freezes the
expressions (the authors' own warning). So each evaluation measures both: identity by SSIM to a
held-out image and by the similarity of face vectors, expression by the distance of detected from
requested landmarks in a scripted motion.
"""

import numpy as np

from tf_talkinghead import metrics
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.faces.crops import default_landmarks
from tf_talkinghead.faces.geometry import eye_distance, neutral_frame
from tf_talkinghead.faces.recognition import centred_cosine, face_vectors

_MOTION_FRAMES = 9  # of the script: enough for a turn, a nod, a blink and an open mouth
_MOST_IMAGES = 8


class Progress:
    """Evaluates one person's renders against the images given.

    Args:
      images: uint8 [T, H, W, 3].
      landmarks: float32 [T, 68, 2].
      held_out: index of the image that is not trained on; None: SSIM is measured on the first
        images.
    """

    def __init__(self, images, landmarks, held_out=None):
        chosen = [held_out] if held_out is not None else list(range(min(len(images), _MOST_IMAGES)))
        self.images, self.landmarks = images[chosen], landmarks[chosen]
        self.motion = scripted_motion(landmarks[neutral_frame(landmarks)], frames=_MOTION_FRAMES)
        few = slice(0, _MOST_IMAGES)
        self.identity = face_vectors(images[few], landmarks[few]).mean(0)
        self.held_out = held_out is not None

    @property
    def count(self) -> int:
        """How many of the given images are compared: the held-out one, or the first ones."""
        return len(self.images)

    def evaluate(self, render, given=None) -> dict:
        """Scores of `render(landmarks [B, 68, 2]) -> uint8 [B, H, W, 3]`.

        Args:
          render: the function.
          given: uint8 [count, H, W, 3], frames of the compared images that were rendered in another
            way; None: by `render`.

        Returns:
          ssim: of the held-out image where there is one, else of the images trained on.
          held_out: whether there is one.
          face_similarity: centred cosine of renders in motion to the images, -1 to 1.
          landmark_error: mean distance of detected from requested landmarks, in distances between
            the eyes; None where no face is found.
        """
        poses = [self.landmarks] if given is None else []
        frames = render(np.concatenate([*poses, self.motion]))
        still = frames[: self.count] if given is None else given
        moving = frames[-len(self.motion) :]
        vectors = face_vectors(moving[::2], self.motion[::2])
        return {
            "ssim": round(float(metrics.ssim(self.images, still).mean()), 5),
            "held_out": self.held_out,
            "face_similarity": round(float(centred_cosine(vectors, self.identity).mean()), 4),
            "landmark_error": _landmark_error(moving[1::2], self.motion[1::2]),
        }


def _landmark_error(frames, requested):
    model, errors = default_landmarks(), []
    for frame, points in zip(frames, requested, strict=True):
        found = model.detect(frame)
        if found:
            detected = (found[0].points + 0.5) / len(frame)
            distance = np.linalg.norm(detected - points, axis=-1).mean()
            errors.append(distance / eye_distance(points))
    return round(float(np.mean(errors)), 4) if errors else None
