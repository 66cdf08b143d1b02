"""Set distances of generated and real frames: Frechet and kernel distance of features.

    pair = SetDistance(features=2048)          # memory does not grow with the number of frames
    pair.add(real_features, fake_features)     # float [B,D] each
    pair.frechet(), pair.kernel(), pair.count

With InceptionV3's features these are FID (Heusel et al. 2017) and KID (Binkowski et al. 2018). The
features here are those of `keras.applications`, not of the TensorFlow graph of 2015 that the papers
used, so compare these figures only with figures made by the same code. With dlib's face features
they are named `face_frechet` and `face_kernel`.
"""

import os
import pathlib

import cv2
import numpy as np

from tf_talkinghead.errors import InputError

INCEPTION_FEATURES = 2048
INCEPTION_SIZE = 299  # pixels
KERNEL_SAMPLE = 2048  # vectors of each set kept for the kernel distance, a uniform sample of all


class SetDistance:
    """Distances between two sets of feature vectors [.,D], which are added in parts.

    Args:
      features: D.
      sample: number of vectors of each set kept for the kernel distance.
      seed: of the random samples.
    """

    def __init__(self, features, sample=KERNEL_SAMPLE, seed=0):
        self.features = features
        self.real, self.fake = Moments(features), Moments(features)
        self._real_sample, self._fake_sample = Reservoir(sample, seed), Reservoir(sample, seed + 1)

    def add(self, real, fake):
        """Adds vectors to either set, float [B,D] (either may be empty)."""
        for vectors, moments, sample in (
            (real, self.real, self._real_sample),
            (fake, self.fake, self._fake_sample),
        ):
            vectors = np.asarray(vectors, np.float64).reshape(-1, self.features)
            moments.add(vectors)
            sample.add(vectors)

    @property
    def count(self):
        """Number of vectors in the smaller set."""
        return min(self.real.count, self.fake.count)

    def frechet(self):
        """The Frechet distance; None where there are fewer vectors than features."""
        if self.count < self.features:
            return None
        return frechet_distance(
            self.real.mean, self.real.covariance, self.fake.mean, self.fake.covariance
        )

    def kernel(self):
        """The squared kernel distance, unbiased, so it can be below 0; None below two vectors."""
        if self.count < 2:
            return None
        return kernel_distance(self._real_sample.vectors, self._fake_sample.vectors)


class Moments:
    """Count, mean [D] and covariance [D,D] of vectors added in parts (Chan et al. 1979)."""

    def __init__(self, features):
        self.count = 0
        self.mean = np.zeros(features)
        self._scatter = np.zeros((features, features))

    def add(self, vectors):
        """Adds vectors [B,D]."""
        if not len(vectors):
            return
        count, mean = len(vectors), vectors.mean(0)
        total, apart = self.count + count, mean - self.mean
        centred = vectors - mean
        self._scatter += centred.T @ centred + np.outer(apart, apart) * self.count * count / total
        self.mean = self.mean + apart * count / total
        self.count = total

    @property
    def covariance(self):
        """The unbiased covariance [D,D]."""
        return self._scatter / (self.count - 1)


class Reservoir:
    """A uniform sample of at most `size` of all vectors added (Vitter's algorithm R)."""

    def __init__(self, size, seed):
        self._size, self._seen, self._kept = size, 0, []
        self._rng = np.random.default_rng(seed)

    def add(self, vectors):
        """Adds vectors [B,D]."""
        for vector in vectors:
            self._seen += 1
            if len(self._kept) < self._size:
                self._kept.append(vector)
                continue
            place = self._rng.integers(self._seen)
            if place < self._size:
                self._kept[place] = vector

    @property
    def vectors(self):
        """The sample, [n,D]."""
        return np.stack(self._kept)


def frechet_distance(mean_a, covariance_a, mean_b, covariance_b):
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the Frechet distance of two Gaussians.

    The trace of the root is computed from the symmetric product C_a^(1/2) C_b C_a^(1/2), which has
    the same eigenvalues. They are real and not negative, also for singular covariances.
    """
    root_a = _symmetric_root(covariance_a)
    eigenvalues = np.linalg.eigvalsh(root_a @ covariance_b @ root_a)
    root_trace = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    apart = np.asarray(mean_a) - mean_b
    return float(apart @ apart + np.trace(covariance_a) + np.trace(covariance_b) - 2 * root_trace)


def kernel_distance(a, b):
    """Unbiased squared maximum mean discrepancy of a [n,D] and b [m,D], kernel (x.y / D + 1)^3."""
    size = a.shape[1]
    within_a, within_b, between = ((x @ y.T / size + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    same_a = (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
    same_b = (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
    return float(same_a + same_b - 2 * between.mean())


def _symmetric_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def cached_inception():
    """Path of Keras's own file of InceptionV3's weights, or None if it was never downloaded."""
    home = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras"))
    path = home / "models" / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return path if path.is_file() else None


class InceptionFeatures:
    """InceptionV3's pooled features: `features(images uint8 [B,H,W,3]) -> float32 [B,2048]`.

    Args:
      weights: a file of `keras.applications`
        (`inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5`), or "imagenet": the file in
        Keras's cache, downloaded if it is not there.

    Raises:
      InputError: the weights cannot be read or downloaded.
    """

    def __init__(self, weights="imagenet"):
        import keras  # imported here, since most evaluations do not need it

        path = pathlib.Path(weights)
        if weights != "imagenet" and not path.is_file():
            raise InputError(f"inception weights {weights}: no such file")
        shape = (INCEPTION_SIZE, INCEPTION_SIZE, 3)
        try:
            self._network = keras.applications.InceptionV3(
                include_top=False,
                pooling="avg",
                input_shape=shape,
                weights=str(weights),
            )
        # A download can fail with many kinds of exception.
        except Exception as error:
            raise InputError(
                f"inception weights {weights}: {str(error).splitlines()[0]}"
            ) from error

    def __call__(self, images):
        resized = [
            cv2.resize(image, (INCEPTION_SIZE, INCEPTION_SIZE), interpolation=cv2.INTER_LINEAR)
            for image in images
        ]
        batch = np.stack(resized).astype(np.float32) / 127.5 - 1
        return np.asarray(self._network.predict_on_batch(batch))
