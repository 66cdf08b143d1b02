"""Frechet and kernel distance against cases by hand, scipy's formula and a direct double sum."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import fid


def test_frechet_by_hand():
    """Axis-aligned Gaussians: sum of (difference of means)^2 and (difference of deviations)^2."""
    got = fid.frechet_distance(
        np.array([0.0, 0]), np.diag([1.0, 4]), np.array([3.0, 4]), np.diag([9.0, 4])
    )
    assert got == pytest.approx(25 + (1 - 3) ** 2 + 0)


def test_frechet_equals_scipys_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12)), rng.normal(size=(150, 12)) + 0.3
    pair = fid.SetDistance(12)
    pair.add(a, b)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = a.mean(0) - b.mean(0)
    expected = apart @ apart + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert pair.frechet() == pytest.approx(expected, rel=1e-9)


def test_frechet_of_equal_sets_is_zero_even_when_singular():
    vectors = np.random.default_rng(0).normal(size=(6, 20))
    mean, covariance = vectors.mean(0), np.cov(vectors, rowvar=False)
    assert fid.frechet_distance(mean, covariance, mean, covariance) == pytest.approx(0, abs=1e-6)


def test_kernel_equals_the_double_sum():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(7, 5)), rng.normal(size=(9, 5)) + 0.5

    def kernel(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / 5 + 1) ** 3

    same_a = sum(kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j) / (7 * 6)
    same_b = sum(kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j) / (9 * 8)
    between = sum(kernel(x, y) for x in a for y in b) / (7 * 9)
    assert fid.kernel_distance(a, b) == pytest.approx(same_a + same_b - 2 * between)


def test_both_on_features_of_real_frames(portrait):
    """Real pixels, small enough to check: blurred frames are farther from the
    originals than shifted ones.
    """
    import cv2

    rng = np.random.default_rng(2)
    corners = rng.integers(0, 380, (300, 2))
    patches = np.stack([portrait[y : y + 128, x : x + 128] for x, y in corners])
    features = [
        cv2.resize(p, (4, 4), interpolation=cv2.INTER_AREA).reshape(-1) / 255 for p in patches
    ]
    real, again, dark = (
        np.array(features[:150]),
        np.array(features[150:]),
        np.array(features[150:]) * 0.5,
    )
    few, others = real[:12], dark[:9]
    same = [
        sum(((x @ y / 48 + 1) ** 3) for i, x in enumerate(s) for j, y in enumerate(s) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (few, others)
    ]
    between = sum((x @ y / 48 + 1) ** 3 for x in few for y in others) / (12 * 9)
    assert fid.kernel_distance(few, others) == pytest.approx(sum(same) - 2 * between)
    near, far = fid.SetDistance(48), fid.SetDistance(48)
    near.add(real, again)
    far.add(real, dark)
    assert near.frechet() < far.frechet() and near.kernel() < far.kernel()
    ca, cb = np.cov(real, rowvar=False), np.cov(dark, rowvar=False)
    apart = real.mean(0) - dark.mean(0)
    expected = apart @ apart + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert far.frechet() == pytest.approx(expected, rel=1e-4)


def test_streaming_in_parts_equals_all_at_once():
    rng = np.random.default_rng(3)
    a, b = rng.normal(1e3, 1, (500, 6)), rng.normal(size=(400, 6))
    whole, parts = fid.SetDistance(6), fid.SetDistance(6)
    whole.add(a, b)
    for start in range(0, 500, 37):
        parts.add(a[start : start + 37], b[start : start + 37])
    assert (parts.real.count, parts.count) == (500, 400)
    assert parts.real.covariance == pytest.approx(np.cov(a, rowvar=False), abs=1e-9)
    assert parts.frechet() == pytest.approx(whole.frechet()) and parts.kernel() == pytest.approx(
        whole.kernel()
    )


def test_memory_does_not_grow_and_the_sample_stays_fair():
    reservoir = fid.Reservoir(50, seed=0)
    for start in range(0, 5000, 100):
        reservoir.add(np.arange(start, start + 100, dtype=float)[:, None])
    kept = reservoir.vectors[:, 0]
    assert kept.shape == (50,) and len(set(kept)) == 50
    assert abs(kept.mean() - 2500) < 800 and kept.max() > 3500 and kept.min() < 1500


def test_too_few_frames_give_only_the_kernel_distance():
    rng = np.random.default_rng(4)
    pair = fid.SetDistance(16)
    pair.add(rng.normal(size=(15, 16)), rng.normal(size=(40, 16)))
    assert pair.frechet() is None and pair.kernel() is not None
    assert fid.SetDistance(4).kernel() is None


@pytest.mark.slow
def test_inception_takes_a_weights_file(tmp_path):
    import keras

    made = keras.applications.InceptionV3(include_top=False, pooling="avg", weights=None)
    path = tmp_path / "inception.weights.h5"
    made.save_weights(path)
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    first, second = fid.InceptionFeatures(path)(images), fid.InceptionFeatures(path)(images)
    assert first.shape == (2, fid.INCEPTION_FEATURES)
    np.testing.assert_allclose(first, second)


def test_cached_inception_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert fid.cached_inception() is None
    path = tmp_path / "models" / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir()
    path.touch()
    assert fid.cached_inception() == path


def test_missing_inception_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.h5"):
        fid.InceptionFeatures(tmp_path / "nowhere.h5")
