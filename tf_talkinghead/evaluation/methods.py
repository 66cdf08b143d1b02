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
ALL = BASELINES + MODEL_METHODS


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
    """`personalize` in one of its modes as a method; `steps` None: the run's number."""
    from tf_talkinghead.personalization.avatar import render
    from tf_talkinghead.personalization.personalize import personalize

    settings = resolve(trained.config, mode=mode, seed=seed, steps=steps).personalize

    def learn(images, landmarks):
        avatar = personalize(trained, images, landmarks, settings, progress=False)
        return Renderer(lambda driving: render(avatar, driving), list(avatar.history))

    return learn


def choose(mode):
    """The names in `--mode`: "all" or a comma-separated list; InputError for an unknown one."""
    names = ALL if mode == "all" else tuple(name.strip() for name in mode.split(","))
    for name in names:
        if name not in ALL:
            raise InputError(
                f"--mode={mode}: expected all or some of {', '.join(ALL)}, got {name!r}"
            )
    return names


def build(names, trained=None, seed=0, steps=None):
    """{name: method} for `names`.

    Args:
      trained: of `weights.store.load_trained`; the baselines need none.
      seed, steps: of fine-tuning; None is the configuration's number of steps.

    Raises:
      InputError: methods of the model without `trained`.
    """
    if (
        trained is not None
        and trained.config.model.generator == "guided"
        and set(names) == set(ALL)
    ):
        names = (*BASELINES, "feed_forward")  # what guided weights know of all
    wanting = [name for name in names if name in MODEL_METHODS]
    if wanting and trained is None:
        raise InputError(
            f"--mode: {', '.join(wanting)} need trained weights: "
            "give --weights=demo or a run directory"
        )
    return {
        name: baseline(name) if name in BASELINES else model_method(name, trained, seed, steps)
        for name in names
    }
