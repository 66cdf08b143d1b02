"""One frame from landmarks: drawing, guide and generator, the same for a preview, an
evaluation and an exported graph.
"""

from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.models import guidance
from tf_talkinghead.models.guided import make_guide


def render_direct(network, landmarks, psi_hat):
    """x_hat [B, S, S, 3] of a `FoldedGenerator`; landmarks [B, 68, 2], psi_hat [B, A]."""
    return network(draw_landmarks(landmarks, network.config.working_size), psi_hat)


def render_guided(network, landmarks, psi_hat, photos, small, photo_landmarks, pupils=None,
                  photo_pupils=None, size=None):  # fmt: skip
    """x_hat [B, size, size, 3] of a `FoldedGuidedGenerator`.

    Args:
      landmarks: float32 [B, 68, 2], finite. psi_hat: float32 [B, A].
      photos: uint8 [N, S', S', 3]; small: the same at the working size;
        photo_landmarks: float32 [N, 68, 2].
      pupils: float32 [B, 2, 2] or None; photo_pupils: float32 [N, 2, 2] or None; NaN where unknown.
      size: pixels of the result, by default the configuration's.
    """
    config = network.config
    rows, shares = guidance.choose(landmarks, photo_landmarks)
    guide = make_guide(
        config, landmarks, photos, photo_landmarks, rows, shares, pupils, photo_pupils, small
    )
    return network(draw_landmarks(landmarks, config.working_size), guide, psi_hat, size=size)
