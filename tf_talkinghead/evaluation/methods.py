"""Methods that an evaluation compares, with one interface: learn from T images, then render.

render = baseline("warp")(images, landmarks)         # baselines need nothing else
render = model_method("fine_tune", trained, seed=0)(images, landmarks)
frames = render(driving)                             # [B,68,2] -> uint8 [B,H,W,3]
render.history                                       # figures during fine-tuning, if any
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import baselines
from tf_talkinghead.personalization.settings import resolve

BASELINES = ("nearest", "warp", "warp_aligned")
MODEL_METHODS = ("feed_forward", "vector", "fine_tune")
DIRECT = "direct"  # avatars of a second, direct weights file, resized to the frames compared
ALL = BASELINES + MODEL_METHODS + (DIRECT,)


@dataclasses.dataclass
class Renderer:
    """A method that has learned a person: float32 [B,68,2] -> uint8 [B,H,W,3]."""

    function: Callable
    history: list = dataclasses.field(default_factory=list)

    def __call__(self, driving):
        return np.asarray(self.function(driving))


def baseline(name):
    """One of BASELINES as a method."""
    function = getattr(baselines, name)
    return lambda images, landmarks: Renderer(lambda driving: function(images, landmarks, driving))


def model_method(mode, trained, seed=0, steps=None):
    """`personalize` in one of its modes as a method.

    Args:
      mode: one of MODEL_METHODS.
      trained: the result of `weights.store.load_trained`.
      seed: of fine-tuning.
      steps: updates of fine-tuning; None: the number in the weights' configuration.
    """
    from tf_talkinghead.personalization.avatar import render
    from tf_talkinghead.personalization.personalize import personalize

    settings = resolve(trained.config, mode=mode, seed=seed, steps=steps).personalize

    def learn(images, landmarks):
        avatar = personalize(trained, images, landmarks, settings, progress=False)
        return Renderer(lambda driving: render(avatar, driving), list(avatar.history))

    return learn


def enlarged(method, own_size, size):
    """`method`, which works at `own_size` px, wrapped to take and give pictures of `size` px.

    The images it learns from are reduced to its own size, and its frames are enlarged.
    """
    from tf_talkinghead.personalization.photos import resized_photos

    def learn(images, landmarks):
        render = method(resized_photos(np.asarray(images), own_size), landmarks)
        return Renderer(lambda driving: resized_photos(render(driving), size), render.history)

    return learn


def choose(mode):
    """The names in `--mode`: "all" (without direct) or a comma-separated list.

    Raises:
      InputError: an unknown name.
    """
    names = (
        BASELINES + MODEL_METHODS
        if mode == "all"
        else tuple(name.strip() for name in mode.split(","))
    )
    for name in names:
        if name not in ALL:
            raise InputError(
                f"--mode={mode}: expected all or some of {', '.join(ALL)}, got {name!r}"
            )
    return names


def build(names, trained=None, seed=0, steps=None, direct=None):
    """{name: method} for `names`.

    Args:
      names: as from `choose`.
      trained: the result of `weights.store.load_trained`; the baselines need none.
      seed, steps: of fine-tuning, as in `model_method`.
      direct: the weights of DIRECT, used in the mode of their own configuration.

    Raises:
      InputError: methods of the model without `trained`, or DIRECT without `direct`.
    """
    wanting = [name for name in names if name in MODEL_METHODS]
    if wanting and trained is None:
        raise InputError(
            f"--mode: {', '.join(wanting)} need trained weights: "
            "give --weights=demo or a run directory"
        )
    if DIRECT in names and direct is None:
        raise InputError("--mode: direct needs --direct_weights=demo or a run directory")
    found = {}
    for name in names:
        if name == DIRECT:
            method = model_method(direct.config.personalize.mode, direct, seed, steps)
            sizes = direct.config.model.image_size, trained.config.model.image_size
            found[name] = enlarged(method, *sizes)
        elif name in BASELINES:
            found[name] = baseline(name)
        else:
            found[name] = model_method(name, trained, seed, steps)
    return found
