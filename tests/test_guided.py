"""The guided generator: shapes, gradients, folding, larger pictures, and
landmarks nobody can have.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.random_avatars import tiny_guided
from tf_talkinghead.config import ConfigError, ModelConfig
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.geometry import expressed, turned
from tf_talkinghead.models import guidance, source_choice
from tf_talkinghead.models.generators import make_folded_generator, make_generator
from tf_talkinghead.models.growing import grows_into, take_weights
from tf_talkinghead.models.guide import make_guide, photo_of
from tf_talkinghead.models.layers import converge_spectral_norms

CONFIG = tiny_guided().model
TARGET = np.float32([turned(COLLINS, yaw=8.0), expressed(COLLINS, 0.0, 0.5, 0.0), COLLINS])


@pytest.fixture(scope="module")
def generator():
    tf.keras.utils.set_random_seed(0)
    made = make_generator(CONFIG)
    made.flow_gain.gain.assign(0.5)  # at rest it hides what is behind it
    return made


@pytest.fixture(scope="module")
def photos():
    noise = np.random.default_rng(1).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    return noise.repeat(16, 1).repeat(16, 2)  # [2, 128, 128, 3]


def guide_of(landmarks, photos, **more):
    sources = tf.constant([COLLINS, turned(COLLINS, yaw=15.0)], tf.float32)
    choice = source_choice.choose(tf.constant(landmarks, tf.float32), sources)
    return make_guide(
        CONFIG,
        tf.constant(landmarks, tf.float32),
        tf.constant(photos),
        sources,
        choice,
        **more,
    )


def call(network, landmarks, photos, **more):
    psi_hat = tf.random.stateless_normal([len(landmarks), network.adain_size], [1, 2]) * 0.1
    y = draw_landmarks(tf.constant(landmarks, tf.float32), CONFIG.working_size)
    return network(y, guide_of(landmarks, photos), psi_hat=psi_hat, **more)


def test_pictures_are_of_the_full_size_and_in_range(generator, photos):
    x_hat = call(generator, TARGET, photos).numpy()
    assert x_hat.shape == (3, 64, 64, 3) and np.abs(x_hat).max() <= 1.0
    assert x_hat.std() > 0.1


def test_rows_of_a_batch_do_not_touch(generator, photos):
    together = call(generator, TARGET, photos).numpy()
    psi_hat = tf.random.stateless_normal([3, generator.adain_size], [1, 2]) * 0.1
    for row in range(3):
        y = draw_landmarks(tf.constant(TARGET[row : row + 1]), CONFIG.working_size)
        guide = guide_of(TARGET[row : row + 1], photos)
        alone = generator(y, guide, psi_hat=psi_hat[row : row + 1]).numpy()
        np.testing.assert_allclose(alone[0], together[row], atol=1e-4)


def test_a_gradient_reaches_every_weight(generator, photos):
    e_hat = tf.random.stateless_normal([3, CONFIG.embedding_size], [3, 4])
    y = draw_landmarks(tf.constant(TARGET), CONFIG.working_size)
    with tf.GradientTape() as tape:
        x_hat = generator(y, guide_of(TARGET, photos), e_hat=e_hat)
        loss = tf.reduce_mean(tf.square(x_hat - 0.3))
    gradients = tape.gradient(loss, generator.trainable_variables)
    silent = [
        variable.path
        for variable, gradient in zip(generator.trainable_variables, gradients, strict=True)
        if gradient is None or not np.abs(np.asarray(gradient)).max() > 0
    ]
    assert not silent


def test_folded_is_the_same_function(generator, photos):
    converge_spectral_norms(generator)
    folded = generator.folded()
    np.testing.assert_allclose(
        call(folded, TARGET, photos), call(generator, TARGET, photos), atol=2e-4
    )
    assert [w.shape for w in make_folded_generator(CONFIG).weights] == [
        w.shape for w in folded.weights
    ]


def test_a_larger_picture_is_the_same_picture(generator, photos):
    folded = generator.folded()
    small = call(folded, TARGET, photos).numpy()
    large = call(folded, TARGET, photos, size=128).numpy()
    assert large.shape == (3, 128, 128, 3)
    shrunk = large.reshape(3, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.abs(shrunk - small).mean() < 0.05


def test_landmarks_nobody_has_give_a_picture(generator, photos):
    strange = np.float32([np.full((68, 2), 0.5), np.stack([np.linspace(0, 1, 68)] * 2, -1)])
    assert np.isfinite(call(generator, strange, photos)).all()


def test_the_photo_shows_through_where_the_face_is_as_in_the_photo(generator, photos):
    generator.flow_gain.gain.assign(0.0)
    try:
        x_hat = call(generator, np.float32([COLLINS]), photos).numpy()[0]
    finally:
        generator.flow_gain.gain.assign(0.5)
    photo = photos[0].reshape(64, 2, 64, 2, 3).mean((1, 3)) / 127.5 - 1
    assert np.corrcoef(x_hat.ravel(), photo.ravel())[0, 1] > 0.7


def blend_of(first, second, shares, fine):
    """`photo_of` two photos [128, 128, 3] that are not warped, levels of 255."""
    photos = np.stack([first, second]).astype(np.uint8)
    guide = {
        "photos": tf.constant(photos),
        "small": tf.constant(photos.reshape(2, 64, 2, 64, 2, 3).mean((2, 4)), tf.float32),
        "rows": tf.constant([[0, 1]]),
        "shares": tf.constant([shares], tf.float32),
        "fine": tf.constant([fine], tf.float32),
    }
    still = np.broadcast_to(guidance.grid(16), (1, 2, 16, 16, 2))
    return (photo_of(guide, tf.constant(still), 128)[0].numpy() + 1.0) * 127.5


def test_coarse_structure_is_blended_by_shares_and_detail_by_those_of_fine():
    plain = np.ones((128, 128, 3))
    detail = 20.0 * (-1.0) ** np.add.outer(np.arange(128), np.arange(128))[..., None]  # 2 px wide
    first, second = 100.0 * plain + detail, 200.0 * plain
    for fine in ((1.0, 0.0), (0.0, 1.0), (0.25, 0.75), (0.5, 0.0)):
        expected = 0.7 * 100 + 0.3 * 200 + fine[0] * detail * plain
        shown = blend_of(first, second, (0.7, 0.3), fine)
        inner = slice(4, -4)  # beyond the grid's outermost centres the flow is flat
        np.testing.assert_allclose(shown[inner, inner], expected[inner, inner], atol=0.6)


def test_one_photo_is_shown_as_it_is(photos):
    shown = blend_of(photos[0], photos[1], (1.0, 0.0), (1.0, 0.0))
    np.testing.assert_allclose(shown, photos[0], atol=0.01)


def test_a_blend_has_the_contrast_of_photos_whose_detail_correlates():
    """Three patterns of 4 px that do not correlate, one of them in both photos, by ALIKE."""
    rng = np.random.default_rng(0)
    patterns = rng.choice([-1.0, 1.0], (3, 32, 32, 1)).repeat(4, 1).repeat(4, 2)
    alike, rest = np.sqrt(source_choice.ALIKE), np.sqrt(1.0 - source_choice.ALIKE)
    common, one, other = 14.0 * patterns * np.reshape([alike, rest, rest], (3, 1, 1, 1))
    photo = 128.0 + (common + one) * np.ones(3)
    blend = blend_of(photo, 128.0 + (common + other) * np.ones(3), (0.5, 0.5), (0.5, 0.5))
    alone = blend_of(photo, photo, (1.0, 0.0), (0.5, 0.5))
    assert blend.std() == pytest.approx(alone.std(), rel=0.05)


def test_black_and_white_photos_give_black_and_white_frames(generator, photos):
    grey = photos.mean(-1, keepdims=True).astype(np.uint8).repeat(3, -1)
    spread = {
        name: np.ptp(call(generator, TARGET, shown).numpy(), axis=-1).mean()
        for name, shown in (("grey", grey), ("coloured", photos))
    }
    assert spread["grey"] < 1e-5 and spread["coloured"] > 0.1


def test_the_background_stays_where_the_foreground_is_zero(generator, photos):
    """With the foreground shut the photo shows as it is, whatever pose is asked for."""
    turned_away = np.float32([turned(COLLINS, yaw=20.0)])
    gains = generator.flow_gain.gain, generator.foreground_gain.gain
    before = [gain.numpy() for gain in gains]
    kernel, bias = generator.foreground.kernel.numpy(), generator.foreground.bias.numpy()
    for gain, value in zip(gains, (0.0, 1.0), strict=True):
        gain.assign(value)
    mean = {}
    try:
        for name, share in (("moves", 20.0), ("stays", -20.0)):
            generator.foreground.bias.assign([share])
            mean[name] = call(generator, turned_away, photos[:1].repeat(2, 0)).numpy()[0]
    finally:
        for gain, value in zip(gains, before, strict=True):
            gain.assign(value)
        generator.foreground.kernel.assign(kernel)
        generator.foreground.bias.assign(bias)
    photo = photos[0].reshape(64, 2, 64, 2, 3).mean((1, 3)) / 127.5 - 1
    agreement = {n: np.corrcoef(x.ravel(), photo.ravel())[0, 1] for n, x in mean.items()}
    assert agreement["stays"] > 0.98 > 0.95 > agreement["moves"]


def test_a_generator_without_foreground_grows_into_one_with(photos):
    before = dataclasses.replace(CONFIG, foreground=False)
    assert grows_into(before, CONFIG) and not grows_into(CONFIG, before)
    earlier, grown = make_generator(before), make_generator(CONFIG)
    earlier.flow_gain.gain.assign(0.5)
    take_weights(grown, earlier)
    grown.foreground.bias.assign([20.0])  # everything moves, as before
    converge_spectral_norms(grown)
    converge_spectral_norms(earlier)
    np.testing.assert_allclose(
        call(grown, TARGET, photos), call(earlier, TARGET, photos), atol=2e-3
    )


def test_unknown_pupils_and_none_are_the_same(photos):
    unknown = tf.fill([3, 2, 2], np.float32(np.nan))
    known = tf.constant(np.float32([[[0.4, 0.4], [0.6, 0.4]]] * 2))
    none = guide_of(TARGET, photos)["gaze"]
    np.testing.assert_array_equal(
        guide_of(TARGET, photos, pupils=unknown, photo_pupils=known)["gaze"], none
    )
    there = tf.constant(np.float32([[[0.4, 0.4], [0.6, 0.4]]] * 3))
    assert np.abs(guide_of(TARGET, photos, pupils=there, photo_pupils=known)["gaze"]).max() > 0.5


def test_refusals_name_what_is_wrong(generator, photos):
    guide = guide_of(TARGET, photos)
    with pytest.raises(InputError, match=r"y: expected .*32, 32, 3"):
        generator(
            np.zeros((3, 64, 64, 3), np.float32),
            guide,
            psi_hat=np.zeros((3, generator.adain_size), np.float32),
        )
    with pytest.raises(InputError, match="either psi_hat"):
        generator(np.zeros((3, 32, 32, 3), np.float32), guide)
    with pytest.raises(ConfigError, match="embedder_channels: expected 3 numbers"):
        ModelConfig(
            generator="guided", image_size=64, embedder_channels=(8, 16), generator_channels=(8, 16)
        )
