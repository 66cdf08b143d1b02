"""Tracking of faces: who is followed, loss, rivals, cuts, the slow detector's limit."""

import numpy as np
import pytest

from tf_talkinghead.errors import NoFaceError
from tf_talkinghead.faces import landmarks, tracking
from tf_talkinghead.faces.squares import Face, Square, square_of


class _Faces:
    """A model that takes bright squares for faces: value = 100 + number, constant side 40."""

    name = "squares"

    def __init__(self):
        self.hard = 0
        self.blind = False

    def _faces(self, image):
        found = []
        for number in np.unique(image[..., 0][image[..., 0] >= 100]):
            rows, columns = np.nonzero(image[..., 0] == number)
            side = np.ptp(columns) + 1
            grid = np.stack(
                [
                    np.linspace(columns.min(), columns.max(), 68),
                    np.linspace(rows.min(), rows.max(), 68),
                ],
                -1,
            )
            found.append(Face(Square(columns.mean(), rows.mean(), side), grid.astype(np.float32)))
        return sorted(found, key=lambda face: -face.square.side)

    def detect(self, image, near=None):
        return [] if self.blind else self._faces(image)

    def detect_hard(self, image, near=None):
        self.hard += 1
        return []

    def follow(self, image, points):
        found = self._faces(image)
        return min(found, key=lambda f: np.abs(f.points - points).mean()) if found else _at(points)


def _at(points):
    return Face(square_of(points), points)


def _scene(*squares):
    image = np.zeros((200, 300, 3), np.uint8)
    for number, (x, y, side) in enumerate(squares):
        if side:
            image[y : y + side, x : x + side] = 100 + number
    return image


def test_the_face_that_lasts_is_kept():
    frames = [_scene((50, 50, 40), (200, 50, 60 if 10 <= t < 20 else 0)) for t in range(40)]
    tracker = tracking.follow_faces(frames, _Faces(), every=5)
    main = tracking.main_track(tracker.tracks, 40)
    assert len(main.positions) == 40 and main.points[0][:, 0].max() < 100


def test_two_equal_faces_are_refused_and_a_clearly_larger_one_kept():
    with pytest.raises(NoFaceError, match="several faces"):
        tracking.track([_scene((20, 50, 60), (200, 50, 58))] * 12, _Faces())
    points = tracking.track([_scene((20, 50, 60), (200, 50, 30))] * 12, _Faces())
    assert points[..., 0].max() < 100
    with pytest.raises(NoFaceError, match="several faces"):
        tracking.track([_scene((20, 50, 60), (200, 50, 58))], _Faces())  # a photo


def test_frames_without_the_face_are_nan_and_hard_calls_limited():
    model = _Faces()
    frames = [_scene((50, 50, 40))] * 10 + [_scene()] * 200
    tracker = tracking.follow_faces(frames, model, every=5)
    assert 1 <= model.hard <= 5 and tracker.hard_calls == model.hard
    points = tracking.track(frames[:60], _Faces(), every=5)
    assert np.isfinite(points[:6]).all() and np.isnan(points[10:]).all()


def test_a_face_the_detector_no_longer_confirms_is_dropped():
    model = _Faces()
    tracker = tracking.FaceTracker(model, every=5)
    for t in range(40):
        model.blind = t > 0
        tracker.step(_scene((50, 50, 40)))
    assert not tracker.live and len(tracker.tracks[0].positions) == 1


def test_unsure_frames_are_left_out_and_the_face_followed_through_them():
    class Doubtful(_Faces):
        frame = -1

        def follow(self, image, points):
            self.frame += 1
            return (
                super()
                .follow(image, points)
                ._replace(spread=landmarks.UNSURE if self.frame in (2, 3, 6) else 0.0)
            )

    frames = [_scene((50 + 2 * t, 50, 40)) for t in range(10)]
    tracker = tracking.follow_faces(frames, Doubtful(), every=100)
    assert [track.positions for track in tracker.tracks] == [
        [0, 1, 2, 5, 6, 8, 9]
    ] and tracker.tracks[0].unsure == 3
    points = tracking.track(frames, Doubtful(), every=100)
    assert np.isnan(points[3]).all() and points[5, :, 0].min() == 60


def test_a_face_never_seen_clearly_is_refused_with_that_reason():
    class Blurred(_Faces):
        def detect(self, image, near=None):
            return [face._replace(spread=1.0) for face in self._faces(image)]

    with pytest.raises(NoFaceError, match="no face seen clearly"):
        tracking.track([_scene((50, 50, 40))], Blurred())


def test_where_followed_and_detected_points_differ_the_surer_go_on_and_neither_counts():
    class Two(_Faces):
        doubt = 0.0

        def detect(self, image, near=None):
            return [face._replace(spread=self.doubt) for face in self._faces(image)]

        def follow(self, image, points):
            return _at(points + np.float32([1, 0]))

    for doubt, left in ((0.0, 50), (0.01, 53)):
        model = Two()
        model.doubt = doubt
        tracker = tracking.follow_faces([_scene((50, 50, 40))] * 4, model, every=3)
        (track,) = tracker.live
        assert track.face.points[:, 0].min() == left
        assert track.positions == [0] and track.unsure == 3  # two since the last confirmed one


def test_a_frame_after_differing_points_is_searched_and_counts_again():
    class Slips(_Faces):
        detected = 0

        def detect(self, image, near=None):
            self.detected += 1
            return super().detect(image, near)

        def follow(self, image, points):
            slipped = image[0, 0, 0] == 1
            return _at(points + np.float32([4, 0])) if slipped else super().follow(image, points)

    scenes = [_scene((50, 50, 40)) for _ in range(12)]
    scenes[5][0, 0] = 1  # where a detection is due
    model = Slips()
    tracker = tracking.follow_faces(scenes, model, every=5)
    # Frames 0, 5, 6 and 11 are searched; 1 to 4 were not confirmed.
    assert model.detected == 4 and tracker.tracks[0].positions == [0, 6, 7, 8, 9, 10, 11]


def test_nothing_found_ends_early_and_says_so():
    tracker = tracking.follow_faces([_scene()] * 1000, _Faces(), every=5)
    assert tracker.hopeless and tracker.frames < 1000
    with pytest.raises(NoFaceError, match="no face found"):
        tracking.track([_scene()] * 3, _Faces())
    with pytest.raises(NoFaceError, match="no face lasts: the longest is seen in 4 of 100"):
        short = tracking.Track([0, 1, 2, 3], [np.random.default_rng(0).random((68, 2))] * 4)
        tracking.main_track([short], 100, 0.25)


def test_a_cut_ends_a_face():
    bright = np.full((200, 300, 3), 99, np.uint8)
    bright[50:90, 50:90] = 100
    tracker = tracking.follow_faces([_scene((50, 50, 40))] * 6 + [bright] * 6, _Faces(), every=50)
    assert [track.positions for track in tracker.tracks] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10, 11],
    ]


def test_a_leap_is_detected_at_once():
    frames = [_scene((20 + (120 if t >= 3 else 0), 50, 150)) for t in range(6)]

    class Lost(_Faces):
        def follow(self, image, points):
            return _at(
                points + np.float32([30, 0]) if image[60, 25, 0] == 0 else points
            )  # follows, wrongly

    points = tracking.track(frames, Lost(), every=100)
    assert points[3, :, 0].min() == 140
