"""The choice of photos: distances by hand, kriging against its definition, continuity."""

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tf_talkinghead.faces.geometry import expressed, eye_distance, turned
from tf_talkinghead.models import source_choice


def points(*faces):
    return tf.constant(np.stack(faces), tf.float32)


def moved(face, degrees=20.0, scale=1.2, shift=(0.05, -0.03)):
    """The face after a similarity about the picture's centre."""
    angle = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (face - 0.5) @ matrix.T + 0.5 + shift


def test_place_size_and_roll_count_little_in_the_choice():
    """A face 10 degrees and a tenth off is nearer than one with closed eyes and an open mouth."""
    near, other = moved(COLLINS, 10.0, 1.1, (0.03, -0.02)), expressed(COLLINS, 0.8, 0.7, 0.0)
    far = source_choice.distances(points(COLLINS), points(near, other))[0].numpy()
    assert far[0] < far[1]
    # By plain distance the choice would be the other way round, by a factor of five.
    plain = [np.linalg.norm(face - COLLINS, axis=-1).mean() for face in (near, other)]
    assert plain[0] > 5 * plain[1]


@pytest.mark.parametrize("shift", [(0.1, 0.0), (-0.03, 0.04), (0.0, 0.3)])
def test_a_shift_counts_a_twentieth_of_its_square(shift):
    """By hand: aligned, the faces are equal, so that only the plain distance remains."""
    far = source_choice.distances(points(COLLINS), points(COLLINS + shift))[0, 0].numpy()
    expected = np.sqrt(0.05) * np.hypot(*shift) / eye_distance(COLLINS)
    np.testing.assert_allclose(far, expected, rtol=1e-3)


def weights_of(choice, shares, count):
    """Shares [B, M] as an array [B, count], one column for each source."""
    rows, shares = np.asarray(choice.rows), np.asarray(shares)
    weights = np.zeros((len(rows), count))
    for m in range(shares.shape[1]):
        weights[np.arange(len(rows)), rows[:, m]] += shares[:, m]
    return weights


def shifted(shift):
    """A face whose distance from COLLINS is proportional to `shift`."""
    return COLLINS + (shift, 0.0)


@pytest.mark.parametrize("way", [0.0, 0.1, 0.3, 0.5, 0.8, 1.0])
def test_on_a_line_the_weights_are_those_of_linear_interpolation(way):
    """By hand: (1 - way, way) of the two neighbours, nothing of those beyond, to the power 1.5."""
    sources = points(shifted(0.0), shifted(-4.0), shifted(4.0), shifted(8.0))
    choice = source_choice.choose(points(shifted(4.0 * way)), sources)
    expected = np.power([1.0 - way, 0.0, way, 0.0], 1.5)
    got = weights_of(choice, choice.shares, 4)[0]
    np.testing.assert_allclose(got, expected / expected.sum(), atol=0.02)


def test_shares_are_powers_of_the_weights_that_kriging_defines():
    """Against the definition: the least expected squared error under weights that add up to 1."""
    turns = (-15, 0), (12, -3), (-4, 6), (8, 8), (-8, -8)
    faces = [turned(COLLINS, yaw=yaw, pitch=pitch) for yaw, pitch in turns]
    target = points(turned(COLLINS, yaw=2.0, pitch=1.0))
    apart = np.float64([source_choice.distances(points(face), points(*faces))[0] for face in faces])
    apart, far = (apart + apart.T) / 2, np.float64(source_choice.distances(target, points(*faces)))
    # Error variance 2 w far - w apart w, minimised in the space of weights that add up to 1.
    base, free = np.full(5, 0.2), np.linalg.svd(np.ones((1, 5)))[2][1:].T
    noisy = apart - source_choice.NUGGET * np.eye(5)
    weights = base + free @ np.linalg.solve(free.T @ noisy @ free, free.T @ (far[0] - noisy @ base))
    expected = np.maximum(weights, 0.0) ** source_choice.POWER
    choice = source_choice.choose(target, points(*faces))
    got = weights_of(choice, choice.shares, 5)[0]
    np.testing.assert_allclose(got, expected / expected.sum(), atol=1e-3)


def test_shares_are_continuous_along_a_way_past_all_sources():
    turns = (-15, 0), (0, 4), (12, -3), (14, 2), (-16, 2), (-4, 0), (4, 0), (8, 8), (-8, -8), (1, 1)
    sources = [turned(COLLINS, yaw=yaw, pitch=pitch) for yaw, pitch in turns]
    assert len(sources) > source_choice.BLENDED
    way = points(*(turned(COLLINS, yaw=yaw) for yaw in np.linspace(-18, 18, 721)))
    choice = source_choice.choose(way, points(*sources))
    np.testing.assert_allclose(np.sum(choice.shares, 1), 1.0, atol=1e-5)
    for shares, step in ((choice.shares, 0.03), (choice.fine, 0.1)):
        assert np.min(shares) >= 0.0
        weights = weights_of(choice, shares, len(sources))
        assert np.abs(np.diff(weights, axis=0)).max() < step  # of 0.05 degrees each
        assert weights.argmax(1)[0] in (0, 4) and weights.argmax(1)[-1] in (2, 3)


def test_a_blend_of_two_has_the_contrast_of_one():
    """By hand: half of each of two patterns that correlate by 1/2 has variance 3/4."""
    choice = source_choice.choose(points(COLLINS), points(COLLINS, COLLINS))
    np.testing.assert_allclose(choice.fine[0], 0.5 / np.sqrt(0.75), rtol=1e-3)


def test_between_many_equal_sources_there_is_no_fine_detail():
    choice = source_choice.choose(points(COLLINS), points(*[COLLINS] * 3))
    np.testing.assert_allclose(choice.fine, 0.0, atol=1e-3)


def test_only_the_allowed_sources_are_chosen():
    sources = points(turned(COLLINS, yaw=20.0), COLLINS, COLLINS)[None]
    for allowed, nearest in ((1, 0), (2, 1)):
        choice = source_choice.choose(points(COLLINS), sources, tf.constant([allowed]))
        weights = weights_of(choice, choice.shares, 3)[0]
        assert weights.argmax() == nearest and weights[allowed:].max() < 1e-4


def test_sources_of_each_frame_are_chosen_as_those_of_one_frame():
    faces = [points(COLLINS, turned(COLLINS, yaw=yaw)) for yaw in (8.0, -12.0)]
    targets = points(turned(COLLINS, yaw=3.0), turned(COLLINS, yaw=-5.0))
    together = source_choice.choose(targets, tf.stack(faces))
    for b, own in enumerate(faces):
        alone = source_choice.choose(targets[b : b + 1], own)
        for part, expected in zip(together, alone):
            np.testing.assert_allclose(part[b], expected[0], atol=1e-4)


def test_one_source_is_enough():
    choice = source_choice.choose(points(COLLINS), points(turned(COLLINS, yaw=5.0)))
    assert [part.numpy().tolist() for part in choice] == [[[0]], [[1.0]], [[1.0]]]


def test_equal_sources_have_equal_shares():
    choice = source_choice.choose(points(COLLINS), points(*[COLLINS] * 9))
    assert np.isfinite(choice.shares).all() and np.sum(choice.shares) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "face",
    [np.full((68, 2), 0.5), np.stack([np.linspace(0, 1, 68)] * 2, -1), COLLINS * 6 - 3],
    ids=["one point", "collinear", "far outside"],
)
def test_degenerate_landmarks_give_finite_shares(face):
    for faces in ((COLLINS, turned(COLLINS, yaw=10.0)), (face, COLLINS), (face, face)):
        choice = source_choice.choose(points(face), points(*faces))
        assert np.isfinite(choice.shares).all() and np.isfinite(choice.fine).all()
        assert np.sum(choice.shares) == pytest.approx(1.0)
