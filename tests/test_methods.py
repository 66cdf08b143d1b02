"""The model's methods through personalisation, with small random weights.

The wiring is tested, not the quality; fine_tune has tests of its own.
"""

import numpy as np
import pytest

from tests.moving_portrait import clip
from tf_talkinghead.config import preset
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import methods


@pytest.fixture(scope="module")
def trained():
    from tf_talkinghead.weights.store import empty

    return empty(preset("tiny"))


@pytest.mark.parametrize("mode, T", [("feed_forward", 1), ("vector", 2)])
def test_model_methods_render_what_they_learned(trained, mode, T):
    made = clip(8, 32)
    renderer = methods.build([mode], trained, seed=3, steps=2)[mode](
        made.images[:T], made.landmarks[:T]
    )
    frames = renderer(made.landmarks[4:7])
    assert frames.shape == (3, 32, 32, 3) and frames.dtype == np.uint8
    if mode == "feed_forward":
        assert renderer.history == []
    else:
        assert max(entry["step"] for entry in renderer.history) == 2  # `steps` reached the learner


def test_choosing_methods():
    assert methods.choose("all") == methods.BASELINES + methods.MODEL_METHODS
    assert methods.choose("warp, nearest") == ("warp", "nearest")
    with pytest.raises(InputError, match="got 'best'"):
        methods.choose("nearest,best")
    with pytest.raises(InputError, match="need trained weights"):
        methods.build(["nearest", "vector"])


def test_direct_weights_work_at_their_own_size_and_are_enlarged():
    seen = []

    def half(images, landmarks):
        seen.append(images)
        return methods.Renderer(lambda driving: images[:1].repeat(len(driving), 0), ["history"])

    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    render = methods.enlarged(half, 32, 64)(images, None)
    expected = images.reshape(2, 32, 2, 32, 2, 3).mean((2, 4))  # the mean of every 2 x 2 pixels
    assert np.abs(seen[0] - expected).max() <= 0.5 and render.history == ["history"]
    frames = render(np.zeros((3, 68, 2)))
    assert frames.shape == (3, 64, 64, 3) and frames.dtype == np.uint8
    assert np.abs(frames[0].reshape(32, 2, 32, 2, 3).mean((1, 3)) - expected[0]).mean() < 12


def test_direct_needs_weights_of_its_own():
    with pytest.raises(InputError, match="--direct_weights"):
        methods.build(["direct"])
    assert "direct" not in methods.choose("all")
