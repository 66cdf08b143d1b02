"""The drawing against an independent one (numpy, supersampled), and the same in all contexts."""

import itertools

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tf_talkinghead.benchmark.machine import PeakMemory
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import drawing
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError

# (points of one line, closed, RGB): METHOD's table of parts, written down a second time.
LINES = [
    (range(17), False, (255, 255, 255)),
    (range(17, 22), False, (255, 128, 0)),
    (range(22, 27), False, (255, 128, 0)),
    (range(27, 31), False, (0, 128, 255)),
    (range(31, 36), False, (0, 255, 255)),
    (range(36, 42), True, (0, 255, 0)),
    (range(42, 48), True, (0, 255, 0)),
    (range(48, 60), True, (255, 0, 0)),
    (range(60, 68), True, (255, 0, 255)),
]
# Subpixels along a pixel's side in the independent drawing.
FINE = 8


def independent(points, size):
    """Drawing [size, size, 3] in 0..255 without a formula for coverage.

    Each of 8 x 8 points of a pixel is in a line or not.
    """
    picture = np.zeros((size, size, 3))
    ticks, half = (np.arange(size * FINE) + 0.5) / FINE, max(1, size / 128) / 2
    for colour in dict.fromkeys(line[2] for line in LINES):
        inside = np.zeros((size * FINE, size * FINE), bool)
        for indices, closed, this in LINES:
            corners = points[list(indices) + [indices[0]] * closed].astype(np.float64) * size
            for a, b in itertools.pairwise(corners) if this == colour else ():
                low = np.searchsorted(ticks, np.minimum(a, b) - half)
                high = np.searchsorted(ticks, np.maximum(a, b) + half)
                x, y = np.meshgrid(ticks[low[0] : high[0]], ticks[low[1] : high[1]])
                along, length = b - a, np.hypot(*(b - a))
                ahead = (x - a[0]) * along[0] + (y - a[1]) * along[1]
                aside = np.abs((x - a[0]) * along[1] - (y - a[1]) * along[0]) / max(length, 1e-9)
                ends = np.minimum(np.hypot(x - a[0], y - a[1]), np.hypot(x - b[0], y - b[1]))
                beside = (ahead >= 0) & (ahead <= length**2) & (length > 0)
                inside[low[1] : high[1], low[0] : high[0]] |= np.where(beside, aside, ends) <= half
        coverage = inside.reshape(size, FINE, size, FINE).mean((1, 3))
        picture = np.maximum(picture, coverage[..., None] * np.array(colour))
    return picture


def near_lines(points, size, reach=2.0):
    """Pixels whose centre lies within `reach` pixels of a line, by OpenCV's distance transform."""
    far = np.full((size * 4, size * 4), 255, np.uint8)
    for indices, closed, _ in LINES:
        corners = np.round((points[list(indices)] * size * 4 - 0.5) * 256).astype(np.int32)
        cv2.polylines(far, [corners], closed, 0, 1, cv2.LINE_8, shift=8)
    distance = cv2.distanceTransform(far, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / 4
    return distance.reshape(size, 4, size, 4)[:, 1:3, :, 1:3].mean((1, 3)) <= reach


def error_near_lines(points, size, drawn):
    """(mean error in 0..255, that of a blank picture) over the pixels near a line."""
    reference, near = independent(points, size), near_lines(points, size)
    return np.abs(reference - drawn * 255.0)[near].mean(), reference[near].mean()


def faces():
    """Landmarks of a real face, turned, tilted, scaled and partly out of the frame."""
    centred = COLLINS - 0.5
    turns = [
        (1.0, 0.0, 0, 0),
        (0.7, 0.3, 0.05, -0.03),
        (1.3, -0.5, 0.11, 0.2),
        (0.4, 0.1, -0.2, 0.1),
    ]
    for scale, angle, x, y in turns:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        yield (centred @ turn.T + 0.5 + (x, y)).astype(np.float32)


@pytest.mark.parametrize("size", [128, 256])
def test_equals_an_independent_drawing(size):
    for points in faces():
        error, blank = error_near_lines(points, size, draw_landmarks(points, size).numpy())
        assert error < 6
        assert error <= blank / 10


def test_equals_an_independent_drawing_on_real_footage(real_data):
    """Landmarks as the detector finds them on real clips."""
    from tf_talkinghead.data.video import read_video
    from tf_talkinghead.faces.crops import face_crops

    for name in sorted((real_data / "photos").glob("df_img1*.jpg"))[:6]:
        clip = face_crops(list(read_video(name).frames), 128, PreparationConfig())
        for points in clip.landmarks:
            error, blank = error_near_lines(points, 128, draw_landmarks(points, 128).numpy())
            assert error < 6
            assert error <= blank / 10


@pytest.mark.parametrize("shift", [(0.5, 0.0), (0.0, -0.5)])
def test_half_a_pixel_off_would_be_noticed(shift):
    for points in faces():
        error, blank = error_near_lines(
            points, 128, draw_landmarks(points + np.float32(shift) / 128, 128).numpy()
        )
        assert error > 6 or error > blank / 10


def test_a_line_worked_by_hand():
    """Nose bridge along x = 8 in 16 px, all else far away: coverage 1/2 on both sides."""
    points = np.full((68, 2), 50.0, np.float32)
    points[27:31] = [[8 / 16, 4 / 16], [8 / 16, 6 / 16], [8 / 16, 8 / 16], [8 / 16, 10 / 16]]
    drawn = draw_landmarks(points, 16).numpy()
    expected = np.zeros((16, 16, 3))
    # Pixel centres at 7.5 and 8.5 lie 0.5 px from the line: coverage 1/2 + 1/2 - 1/2.
    expected[4:10, 7:9] = np.array([0, 128, 255]) / 255 * 0.5
    # Beyond its end, centre (8.5, 10.5): distance sqrt(1/2).
    expected[[3, 3, 10, 10], [7, 8, 7, 8]] = np.array([0, 128, 255]) / 255 * (1 - 0.5**0.5)
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


def test_channels_are_the_maximum_over_segments():
    """A brow (255, 128, 0) over the nose bridge (0, 128, 255): green stays 128, with no sum."""
    points = np.full((68, 2), 50.0, np.float32)
    # Dots at the centre of pixel 8 of 16.
    points[17:22] = points[27:31, None][0] = 0.53125
    np.testing.assert_allclose(draw_landmarks(points, 16)[8, 8], [1, 128 / 255, 1], atol=1e-6)


def test_there_are_63_segments_in_seven_colours():
    assert len(drawing.STARTS) == len(drawing.ENDS) == len(drawing.GROUPS) == 63
    assert len(drawing.COLOURS) == 7
    assert [drawing.line_width(size) for size in (32, 128, 256, 512)] == [1, 1, 2, 4]


def test_same_eagerly_in_a_graph_in_tf_data_and_in_a_saved_model(tmp_path):
    points = np.stack(list(faces()))
    eager = draw_landmarks(points, 64).numpy()

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 68, 2])])
        def draw(self, landmarks):
            return draw_landmarks(landmarks, 64)

    module = Module()
    dataset = tf.data.Dataset.from_tensor_slices(points).map(lambda p: draw_landmarks(p, 64))
    tf.saved_model.save(module, str(tmp_path / "drawing"))
    for other in (
        module.draw(points),
        np.stack(list(dataset)),
        tf.saved_model.load(str(tmp_path / "drawing")).draw(points),
    ):
        np.testing.assert_allclose(other, eager, atol=1e-6)


@pytest.mark.parametrize("size", [20, 32, 100, 144])
def test_any_resolution_and_any_leading_shape(size):
    points = np.stack(list(faces()))
    drawn = draw_landmarks(points.reshape(2, 2, 68, 2), size)
    assert drawn.shape == (2, 2, size, size, 3)
    for number, single in enumerate(points):
        np.testing.assert_allclose(
            drawn[number // 2, number % 2], draw_landmarks(single, size), atol=1e-6
        )
    assert draw_landmarks(np.zeros((0, 68, 2), np.float32), size).shape == (0, size, size, 3)


def test_points_far_outside_leave_what_is_inside_as_it_was():
    points = COLLINS.copy()
    # The jaw leaves the frame, and with it all that is white.
    points[:17] += 30
    drawn, whole = draw_landmarks(points, 128).numpy(), draw_landmarks(COLLINS, 128).numpy()
    eyes = (whole[..., 1] > 0) & (whole[..., 0] == 0) & (whole[..., 2] == 0)
    np.testing.assert_array_equal(drawn[eyes], whole[eyes])
    white = np.all(whole == whole[..., :1], axis=-1) & (whole[..., 0] > 0)
    assert white.any() and not drawn[white].any()


def test_gradient_follows_finite_differences():
    """The sum of weighted pixels as a function of the landmarks, against central differences."""
    weights = tf.random.stateless_normal([48, 48, 3], (1, 2))
    points = tf.Variable(COLLINS)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(draw_landmarks(points, 48) * weights)
    gradient = tape.gradient(value, points).numpy()
    direction = np.random.default_rng(0).normal(size=(68, 2)).astype(np.float32)
    step = 2e-5
    ahead, behind = (
        tf.reduce_sum(
            tf.cast(draw_landmarks(COLLINS + sign * step * direction, 48), tf.float64)
            * tf.cast(weights, tf.float64)
        )
        for sign in (1, -1)
    )
    assert np.count_nonzero(gradient) > 100
    np.testing.assert_allclose(
        (gradient * direction).sum(), float(ahead - behind) / (2 * step), rtol=0.03
    )


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-6, 1e-4])
def test_gradient_of_points_that_coincide_is_finite(spread):
    """All 68 points on (almost) one spot: every segment is a dot, with a finite gradient."""
    offsets = np.random.default_rng(0).normal(size=(68, 2)) * spread
    points = tf.Variable((0.503 + offsets).astype(np.float32))
    with tf.GradientTape() as tape:
        drawn = draw_landmarks(points, 32)
        value = tf.reduce_sum(drawn * tf.random.stateless_normal(drawn.shape, (3, 4)))
    gradient = tape.gradient(value, points).numpy()
    assert drawn.numpy().max() > 0.3
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_memory_of_a_frame_stays_below_32_mb():
    points = np.repeat(COLLINS[None], 16, axis=0)
    draw = tf.function(lambda landmarks: draw_landmarks(landmarks, 256))
    draw(points[:1])
    with PeakMemory() as peak:
        draw(points)
    if peak.extra_megabytes is None:
        pytest.skip("this system does not tell its peak memory")
    assert peak.extra_megabytes / len(points) < 32


def test_non_finite_points_leave_their_segments_out_inside_a_graph():
    points = COLLINS.copy()
    points[28] = np.nan
    points[40] = np.inf
    drawn = tf.function(lambda landmarks: draw_landmarks(landmarks, 64))(points).numpy()
    assert np.isfinite(drawn).all()
    lips = draw_landmarks(COLLINS, 64).numpy()[34:50]
    np.testing.assert_allclose(drawn[34:50, :, 0], lips[:, :, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("landmarks", "size", "said"),
    [
        (
            np.zeros((67, 2), np.float32),
            32,
            r"landmarks: expected shape \[..., 68, 2\], got \(67, 2\)",
        ),
        (np.zeros((2, 68, 3), np.float32), 32, "landmarks: expected shape"),
        (np.zeros((68, 2), np.int32), 32, "landmarks: expected floats .* got int32"),
        (np.full((68, 2), np.nan, np.float32), 32, "landmarks: expected finite numbers"),
        (np.full((68, 2), np.inf, np.float32), 32, "landmarks: expected finite numbers"),
        (COLLINS, 0, "size: expected a positive integer of pixels, got 0"),
        (COLLINS, 64.0, "size: expected a positive integer"),
    ],
)
def test_bad_input_is_refused_by_name(landmarks, size, said):
    with pytest.raises(InputError, match=said):
        draw_landmarks(landmarks, size)
