"""The watermark in pictures: invisible by the figures, found after what happens to films."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import structural_similarity

from tests import moving_portrait
from tf_talkinghead.benchmark import attacks
from tf_talkinghead.errors import InputError
from tf_talkinghead.watermark.detection import detect
from tf_talkinghead.watermark.embedding import Embedder, mark_frames
from tf_talkinghead.watermark.keys import PUBLIC_KEY, key_name, read_key
from tf_talkinghead.watermark.pattern import make_pattern

ID = 0xC0FFEE42
OWN_KEY = bytes(range(32))
# Of the public key: the first three frequencies in rfft2 of the canvas, and their phases.
PLACES = [(32, 43), (112, 28), (125, 14)]
ANGLES = [-1.224259, 1.847769, -0.756393]


def mark(frames, identity, key=PUBLIC_KEY):
    return mark_frames(frames, make_pattern(key), identity)


@pytest.fixture(scope="module")
def film():
    """The portrait turning and talking before a still background: uint8 [20, 256, 256, 3]."""
    return moving_portrait.clip(20, 256).images


@pytest.fixture(scope="module")
def marked(film):
    return mark(film, ID)


def resized(frames, size):
    return np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames])


@pytest.mark.parametrize("size", [128, 200, 256, 512])
def test_the_mark_is_faint_and_readable_at_every_size(portrait, film, size):
    plain = portrait[None] if size == 512 else resized(film[:1], size)
    shown = mark(plain, ID)
    error = np.mean((shown.astype(float) - plain) ** 2)
    assert 0 < error < 255**2 / 10**4.2  # PSNR of 42 dB
    assert structural_similarity(shown[0], plain[0], channel_axis=-1) > 0.985
    found = detect(shown)
    assert found.id == ID and found.place == (0, 0, size)


def test_flat_and_black_ground_stays_calm():
    ground = np.full([3, 256, 256, 3], 128, np.uint8)
    ground[1], ground[2] = 0, 255
    shown = mark(ground, ID).astype(int)
    assert np.abs(shown - ground).max() <= 4
    assert np.std(shown[0] - 128) < 0.7  # under the level at which an 8-bit picture shows noise
    assert np.std(shown[1]) < 0.3


def test_without_a_mark_nothing_is_found(film, portrait):
    for plain in (film, portrait[None], film[:1]):
        found = detect(plain)
        assert not found.present and found.id is None and found.place is None


def test_each_key_finds_its_own_mark_only(film, marked):
    own = mark(film, ID, OWN_KEY)
    assert detect(own, OWN_KEY).id == ID
    assert not detect(own, PUBLIC_KEY, everywhere=False).present
    assert not detect(marked, OWN_KEY, everywhere=False).present


@pytest.mark.parametrize("attack", ["crf28", "vp9", "half", "double"])
def test_the_mark_survives(marked, attack):
    found = detect(attacks.ATTACKS[attack](list(marked)))
    assert found.present and found.id in (ID, None)


@pytest.mark.parametrize("attack", ["crf23", "jpeg85"])
def test_the_id_survives(marked, attack):
    assert detect(attacks.ATTACKS[attack](list(marked))).id == ID


def test_the_place_is_found_after_cropping(marked):
    found = detect(attacks.cropped(list(marked)))
    assert found.id == ID and found.score >= found.threshold
    # 204 of 256 pixels are left: 36 are gone from the left and 16 from above.
    np.testing.assert_allclose(found.place, (-36, -16, 256), atol=4)


def test_the_place_is_found_in_a_larger_picture(marked):
    found = detect(attacks.encoded(attacks.pasted(list(marked))))
    side = round(256 * 1.15)
    assert found.id == ID and found.score >= found.threshold
    np.testing.assert_allclose(found.place, (0.6 * side, 0.2 * side, side), atol=5)


def test_beside_the_driver_it_is_found_at_once(film, marked):
    found = detect(np.concatenate([film, marked], axis=2), everywhere=False)
    assert found.id == ID and found.place == (256, 0, 256)


def test_the_graph_marks_every_row_by_itself(film):
    """A batch of different frames is marked as each of them alone."""
    embedder = Embedder(make_pattern(PUBLIC_KEY), ID, 256)
    frames = tf.constant(film[::12], tf.float32)
    together = embedder(frames).numpy()
    alone = np.concatenate([embedder(frames[i : i + 1]).numpy() for i in range(len(frames))])
    np.testing.assert_allclose(together, alone, atol=1e-2)


def test_the_pattern_never_changes():
    """Marks of last year must be found next year: the first and the last of the public numbers."""
    pattern = make_pattern(PUBLIC_KEY)
    places = [*zip(pattern.rows, pattern.columns)]
    assert len(set(places)) == 192 * 22
    assert places[:3] == PLACES
    np.testing.assert_allclose(np.angle(pattern.phases[:3]), ANGLES, atol=1e-5)
    picture = pattern.picture(256, ID)
    assert picture.shape == (256, 256) and picture.std() == pytest.approx(1, abs=1e-4)


def test_frames_that_cannot_be_read_together_are_refused(film):
    with pytest.raises(InputError, match="no frames"):
        detect([])
    with pytest.raises(InputError, match="expected frames of 256 x 256 px"):
        detect([film[0], film[0][:100]])
    assert not detect([np.zeros([8, 8, 3], np.uint8)]).present


def test_keys_come_from_files(tmp_path):
    (tmp_path / "key").write_bytes(OWN_KEY)
    (tmp_path / "short").write_bytes(b"secret")
    assert read_key(tmp_path / "key") == OWN_KEY and read_key(None) == PUBLIC_KEY
    assert key_name(PUBLIC_KEY) == "public" and len(key_name(OWN_KEY)) == 8
    for name, reason in {"short": "16 random bytes", "none": "cannot be read"}.items():
        with pytest.raises(InputError, match=reason):
            read_key(tmp_path / name)
