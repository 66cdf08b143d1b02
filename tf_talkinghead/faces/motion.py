"""Motion metrics: landmarks found on rendered frames, compared with those that drove them.

Landmarks are float [B,68,2], fractions of the crop; a frame in which no face is found has NaN.
Distances are shares of the driving face's eye distance, so that image size does not matter. dlib's
own points move by 1-2 % of it when a frame is only shifted: the row "truth" of a report gives the
metrics of the true frames for comparison.
"""

import numpy as np

from tf_talkinghead.faces.geometry import eye_distance

_UPPER_LIDS, _LOWER_LIDS = (37, 38, 43, 44), (41, 40, 47, 46)
_LID_CORNERS = ((36, 39), (42, 45))
_UPPER_LIP, _LOWER_LIP = (61, 62, 63), (67, 66, 65)


def find_landmarks(images, model):
    """Landmarks detected on images, NaN where no face is found.

    Args:
      images: uint8 RGB [B,H,W,3].
      model: a LandmarkModel.

    Returns:
      float64 [B,68,2], fractions of the image.
    """
    found = np.full((len(images), 68, 2), np.nan)
    for row, image in enumerate(images):
        faces = model.detect(image)
        if faces:
            found[row] = (faces[0].points + 0.5) / image.shape[1::-1]
    return found


def landmark_error(found, driving):
    """Mean distance between `found` and `driving` landmarks [B,68,2] over the eye distance, [B].

    NaN in frames where no face is found.
    """
    distance = np.linalg.norm(np.asarray(found, np.float64) - driving, axis=-1).mean(-1)
    return distance / eye_distance(np.asarray(driving, np.float64))


def eye_opening(points):
    """Height of both eyes over their width, [B]: about 0.3 open, below 0.15 shut."""
    points = np.asarray(points, np.float64)
    height = (
        np.linalg.norm(points[..., _UPPER_LIDS, :] - points[..., _LOWER_LIDS, :], axis=-1).sum(-1)
        / 2
    )
    width = sum(
        np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1) for a, b in _LID_CORNERS
    )
    return height / width


def mouth_opening(points):
    """Gap between the lips over the eye distance, [B]: 0 shut."""
    points = np.asarray(points, np.float64)
    gap = np.linalg.norm(points[..., _UPPER_LIP, :] - points[..., _LOWER_LIP, :], axis=-1).mean(-1)
    return gap / eye_distance(points)


def agreement(result, driving):
    """Lin's concordance correlation of two series [B] (mouth opening, say): 1 equal, 0 unrelated.

    Unlike a correlation it is lowered by a different amplitude or mean. Frames without a face (NaN)
    are left out. None with fewer than three frames, or where neither series varies.
    """
    result, driving = np.asarray(result, np.float64), np.asarray(driving, np.float64)
    both = np.isfinite(result) & np.isfinite(driving)
    result, driving = result[both], driving[both]
    spread = (
        result.var() + driving.var() + (result.mean() - driving.mean()) ** 2
        if both.sum() >= 3
        else 0.0
    )
    if spread < 1e-12:
        return None
    return float(2 * ((result - result.mean()) * (driving - driving.mean())).mean() / spread)


def landmark_jitter(found, driving, consecutive):
    """Landmark jitter: motion of the found points that the driving points do not have.

    From one frame to the next each point should move as the driving one does. The jitter is the
    distance between the two displacements, averaged over points and frames.

    Args:
      found, driving: landmarks [B,68,2].
      consecutive: bool [B-1], whether frames i and i + 1 are neighbours in the clip.

    Returns:
      A share of the eye distance; None without two consecutive frames that show a face.
    """
    found, driving = np.asarray(found, np.float64), np.asarray(driving, np.float64)
    steps = np.linalg.norm(np.diff(found, axis=0) - np.diff(driving, axis=0), axis=-1).mean(-1)
    shares = (steps / eye_distance(driving[1:]))[consecutive]
    shares = shares[np.isfinite(shares)]
    return float(shares.mean()) if len(shares) else None


def flicker(result, truth, mask, consecutive):
    """Flicker: mean change of the error from frame to frame inside a mask.

    Args:
      result, truth: uint8 [B,H,W,3].
      mask: bool [B,H,W].
      consecutive: bool [B-1], whether frames i and i + 1 are neighbours in the clip.

    Returns:
      A share of the full range, 0 for an error that stays the same; None without two consecutive
      frames.
    """
    error = result.astype(np.float64) - truth
    change = np.abs(np.diff(error, axis=0)).mean(-1)
    within = mask[1:] & mask[:-1]
    shares = (change * within).sum((1, 2)) / np.maximum(within.sum((1, 2)), 1) / 255
    return float(shares[consecutive].mean()) if np.any(consecutive) else None
