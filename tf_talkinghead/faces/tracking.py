"""Face tracking through a clip: detection every few frames, following in between.

Faces are detected every `every` frames of the source, and their points are followed in between. If
neither the detector nor the slow detector finds a face any more, the frames after its last
confirmed one are dropped; a cut ends every track. A frame whose points are unreliable
(landmarks.py) does not count as seen, but the face is followed through it. Where followed and
detected points differ, that frame and those since the last confirmed one do not count either. The
slow detector is called at most five times per clip. A clip's main face is the one seen in most
frames.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from tf_talkinghead.errors import NoFaceError
from tf_talkinghead.faces import landmarks
from tf_talkinghead.faces.landmarks import LandmarkModel
from tf_talkinghead.faces.squares import Face, square_of

HARD_CALLS = 5  # of the slow detector, per clip
_MISSES = 3  # detector runs in a row that do not see a face before it is dropped
_SEARCHES = 20  # detector runs without any face after which a clip is given up
_CUT = 45.0  # mean change of 16 x 16 thumbnails, in levels of 255, that makes a cut
# A square that moved by more than one side, or grew by more than 1.5, from one frame to the next is
# another face.
_MOVED, _GROWN = 1.0, 1.5
# A followed face that moved or grew by more than this may be lost: the detector runs at once.
_LEAPT, _SWOLLEN = 0.12, 1.15
# Mean distance of followed from detected points, in sides, above which they differ: then those with
# the smaller spread are followed on. Of 58 frames within ten of such a frame, 7 had points more
# than 2.5 % of the eye distance off; of 5,556 others, 2 (`train` and `choose`).
_DIFFERENT = landmarks.CONFIRMED
_SURER = 0.003  # spread that detected points may have more than followed ones and still be taken
_WRONG = 0.15  # the same distance, above which the detected points are taken in any case
_RIVAL = 0.8  # share of the main face's frames and side from which a second face is as important


@dataclass
class Track:
    """One face through consecutive frames."""

    positions: list[int] = field(default_factory=list)  # of the frames it is seen in
    points: list[np.ndarray] = field(default_factory=list)  # float32 [68, 2] each, pixels
    face: Face | None = None  # the newest, reliable or not
    confirmed: int = 0  # number of frames up to and including the last confirmed one
    misses: int = 0  # detector runs in a row that did not find it
    unsure: int = 0  # frames left out because the points were unreliable

    @property
    def side(self) -> float:
        """Median side of its square, pixels."""
        return float(np.median([square_of(points).side for points in self.points]))

    def add(self, position, face, confirmed, believed=True):
        self.face = face
        if believed and face.spread < landmarks.UNSURE:
            self.positions.append(position)
            self.points.append(face.points)
        else:
            self.unsure += 1
        if confirmed:
            self.confirmed, self.misses = len(self.points), 0

    def cut_to_confirmed(self):
        """Drops the frames after the last confirmed one; returns how many."""
        dropped = len(self.points) - self.confirmed
        del self.positions[self.confirmed :], self.points[self.confirmed :]
        return dropped


class FaceTracker:
    """All faces of a stream of frames; `step` once per frame, then `tracks` holds them."""

    def __init__(self, model: LandmarkModel, every: int = 5):
        self.model, self.every = model, every
        self.live: list[Track] = []
        self.tracks: list[Track] = []
        self.detections = self.hard_calls = self.frames = 0
        self._next_search, self._searches, self._thumbnail = 0, 0, None

    def step(self, image: np.ndarray, moment: int | None = None) -> None:
        """Adds the next frame.

        Args:
          image: uint8 RGB [H, W, 3].
          moment: its number in the source, where frames were left out.
        """
        moment = self.frames if moment is None else moment
        if self._is_cut(image):
            self.live, self._next_search = [], moment
        followed = [self.model.follow(image, track.face.points) for track in self.live]
        leapt = any(
            not _same(track.face, face, _LEAPT, _SWOLLEN)
            for track, face in zip(self.live, followed, strict=True)
        )
        if leapt or moment >= self._next_search:
            if self._detect(image, followed):
                wait = 1
            else:
                wait = self.every if self.live else max(1, self.every // 3)
            self._next_search = moment + wait
        else:
            for track, face in zip(self.live, followed, strict=True):
                track.add(self.frames, face, confirmed=False)
        self.frames += 1

    @property
    def hopeless(self) -> bool:
        """Whether many detector runs have found no face at all."""
        return not self.tracks and self._searches >= _SEARCHES

    def _detect(self, image, followed):
        """Runs the detector and assigns its faces to tracks.

        Returns:
          Whether a face was missed or found elsewhere, so that the next frame is searched too.
        """
        main = max(
            zip(self.live, followed, strict=True),
            key=lambda pair: len(pair[0].points),
            default=None,
        )
        near = None
        if main is not None:
            before, followed_to = main[0].face, main[1]
            near = followed_to if _same(before, followed_to, _LEAPT, _SWOLLEN) else before
        found = self.model.detect(image, near)
        self.detections += 1
        self._searches += 1
        if main is None and not found and self._may_call_hard(first=True):
            found = self.model.detect_hard(image)
        still, settled = [], True
        for track, face in zip(self.live, followed, strict=True):
            match = _best(track, found)
            if match is None and self._may_call_hard():
                match = _best(track, self.model.detect_hard(image, track.face))
            else:
                found = [face for face in found if face is not match]
            if match is not None:
                gap = np.linalg.norm(face.points - match.points, axis=-1).mean() / match.square.side
                different = gap > _DIFFERENT
                # After a sudden move only the followed points of this frame are wrong.
                leapt = not _same(track.face, face, _LEAPT, _SWOLLEN)
                surer = match.spread <= face.spread + _SURER
                taken = match if different and (leapt or surer or gap > _WRONG) else face
                drifted = different and not leapt
                if drifted:
                    track.unsure += track.cut_to_confirmed()
                    track.misses = 0
                track.add(self.frames, taken, confirmed=not drifted, believed=not drifted)
                settled = settled and not drifted
            else:
                track.misses += 1
                if track.misses > _MISSES or not _same(track.face, face, _LEAPT, _SWOLLEN):
                    track.cut_to_confirmed()
                    continue
                track.add(self.frames, face, confirmed=False)
            still.append(track)
        for face in found:
            track = Track()
            track.add(self.frames, face, confirmed=True)
            self.tracks.append(track)
            still.append(track)
        self.live = still
        return not settled or any(track.misses for track in still)

    def _may_call_hard(self, first=False):
        """Counts a call of the slow detector; False if no call is left.

        Two of the calls are reserved for faces that were seen and lost.
        """
        if self.hard_calls >= HARD_CALLS - (2 if first else 0):
            return False
        self.hard_calls += 1
        return True

    def _is_cut(self, image):
        thumbnail = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, thumbnail
        return before is not None and float(np.abs(thumbnail - before).mean()) > _CUT


def follow_faces(
    frames: Iterable[np.ndarray], model: LandmarkModel, every: int = 5, moments=None
) -> FaceTracker:
    """Tracks all faces of a clip; returns the tracker after its last frame.

    It stops early where no face is found in many detector runs (`FaceTracker.hopeless`).

    Args:
      frames: uint8 RGB [H, W, 3] each.
      model: a LandmarkModel.
      every: frames of the source from one detection to the next.
      moments: the frames' numbers in the source; 0, 1, 2, ... by default.
    """
    tracker = FaceTracker(model, every)
    for position, frame in enumerate(frames):
        tracker.step(frame, None if moments is None else int(moments[position]))
        if tracker.hopeless:
            break
    return tracker


def track(frames: Iterable[np.ndarray], model: LandmarkModel, every: int = 5) -> np.ndarray:
    """The main face's points in every frame, float32 [T, 68, 2], pixels, NaN where unseen.

    Raises:
      NoFaceError: no frame shows a face, or it is unclear which of two faces is meant.
    """
    frames = list(frames)
    main = main_track(follow_faces(frames, model, every).tracks, len(frames))
    points = np.full((len(frames), 68, 2), np.nan, np.float32)
    points[main.positions] = main.points
    return points


def main_track(tracks: list[Track], frames: int, least_share: float = 0.0) -> Track:
    """The track seen in most frames (of equals the larger), a clip's main face.

    In a photo it is the largest face.

    Args:
      tracks: all tracks of the clip.
      frames: number of frames of the clip.
      least_share: share of the frames in which the face must be seen.

    Raises:
      NoFaceError: no face is seen clearly or long enough, or a second one is about as large and as
        long in view.
    """
    seen = bool(tracks)
    tracks = [track for track in tracks if track.points]
    if not tracks:
        raise NoFaceError(
            "no face seen clearly: turned away, covered or blurred" if seen else "no face found"
        )
    main = max(tracks, key=lambda track: (len(track.points), track.side))
    if len(main.points) < least_share * frames:
        raise NoFaceError(
            f"no face lasts: the longest is seen in {len(main.points)} of {frames} frames, "
            f"expected a share of {least_share:g}"
        )
    for other in tracks:
        beside = len(set(other.positions) & set(main.positions)) >= _RIVAL * len(main.points)
        if other is not main and beside and other.side >= _RIVAL * main.side:
            raise NoFaceError("several faces, about equally large and equally long in view")
    if len(tracks) > 1 and frames == 1:  # in a photo all last equally long
        main = max(tracks, key=lambda track: track.side)
    return main


def _same(before, after, moved=_MOVED, grown=_GROWN):
    """Whether two faces may be one: squares less than `moved` sides apart, sizes within `grown`."""
    a, b = before.square, after.square
    distance = max(abs(a.x - b.x), abs(a.y - b.y)) / max(a.side, b.side)
    return distance < moved and 1 / grown < a.side / b.side < grown


def _best(track, faces):
    """The detected face that is `track`'s, or None."""
    own = track.face.square
    return min(
        (face for face in faces if _same(track.face, face)),
        key=lambda face: np.hypot(face.square.x - own.x, face.square.y - own.y),
        default=None,
    )
