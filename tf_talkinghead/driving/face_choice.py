"""Choice of one face among those of a clip: the one seen longest, the largest, or by position."""

import numpy as np

from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.faces.squares import square_of
from tf_talkinghead.faces.tracking import Track, main_track

# A track counts as a face reappearing within this distance (in sides of the face square) and within
# this ratio of sizes.
RETURN_WITHIN, RETURN_SIZE = (1.0, 1.5)
# Not counted: faces seen in fewer frames than this share of the face seen longest.
_LEAST_SHARE = 0.2
# Not counted: faces smaller than this share of the largest; badges and patterns give small faces.
_LEAST_SIDE = 0.35


def check_face(face: str) -> None:
    """Raises InputError unless `face` is "largest", "left" or a number from 1."""
    if face not in ("largest", "left") and not (face.isdecimal() and int(face) >= 1):
        raise InputError(
            f"--face={face}: expected largest, left, or a number from 1 (counted from the left)"
        )


def choose_face(tracks: list[Track], frames: int, face: str | None = None) -> list[Track]:
    """The tracks of one face of a clip.

    Args:
      tracks: all tracks of the clip (`tracking.FaceTracker.tracks`).
      frames: number of the clip's frames.
      face: "largest", "left" (the leftmost in the picture), or a number as text: the face of that
        number counted from the left, from 1. None: the face that lasts longest.

    Raises:
      NoFaceError: no face was found; or `face` is None and two faces are about equally large and
        seen side by side about equally long.
      InputError: an unknown `face`, or there are fewer faces than its number.
    """
    if face is None:
        try:
            return _same_face(main_track(tracks, frames), tracks)
        except NoFaceError as error:
            if "several faces" not in str(error):
                raise
            raise NoFaceError(
                f"{error}; choose one with --face=largest, left or a number"
            ) from None
    check_face(face)
    faces = _faces([track for track in tracks if track.points])
    if not faces:
        return _same_face(main_track(tracks, frames), tracks)  # says why there is none
    if face == "largest":
        return max(faces, key=_side)
    number = 1 if face == "left" else int(face)
    if number > len(faces):
        raise InputError(
            f"--face={face}: the driver shows {len(faces)} faces that last, expected a number from "
            f"1 to {len(faces)}"
        )
    return sorted(faces, key=_across)[number - 1]


def _faces(tracks):
    """The lasting faces, each as the list of its tracks."""
    left, faces = sorted(tracks, key=lambda track: -len(track.points)), []
    while left:
        faces.append(_same_face(left[0], left))
        taken = {id(track) for track in faces[-1]}
        left = [track for track in left if id(track) not in taken]
    lengths = [sum(len(track.points) for track in face) for face in faces]
    sides = [_side(face) for face in faces]
    return [
        face
        for face, count, side in zip(faces, lengths, sides, strict=True)
        if count >= _LEAST_SHARE * max(lengths) and side >= _LEAST_SIDE * max(sides)
    ]


def _side(face):
    return max(track.side for track in face)


def _across(face):
    """Horizontal position of a face, median over its frames, pixels."""
    return float(np.median([points[:, 0].mean() for track in face for points in track.points]))


def _same_face(main, tracks):
    """The main face's track, and the tracks in which the same face reappears.

    Such a track never overlaps the others in time and has a similar size and position.
    """
    chosen, taken = [main], set(main.positions)
    home = square_of(np.median(main.points, axis=0))
    for track in sorted(tracks, key=lambda track: -len(track.points)):
        if not track.points or taken & set(track.positions):
            continue
        square = square_of(np.median(track.points, axis=0))
        off = max(abs(square.x - home.x), abs(square.y - home.y)) / home.side
        if off < RETURN_WITHIN and 1 / RETURN_SIZE < square.side / home.side < RETURN_SIZE:
            chosen.append(track)
            taken |= set(track.positions)
    return chosen
