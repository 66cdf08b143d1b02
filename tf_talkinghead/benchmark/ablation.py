"""Ablation of the guided generator: what each of its parts contributes.

    python -m scripts.benchmark ablation --preset=guided --option=data=TRAIN --option=people=CHOOSE
    python -m scripts.benchmark ablation --option=weights=guided --option=people=CHOOSE

The first form trains each variant, which lacks one part, from random weights for the same number of
updates on the same episodes. Short runs show which parts help early; a part that needs long
training may contribute more than they show. The second form trains nothing: it switches a part of
trained weights off, which shows how much the rest depends on it. Both render people who were not
trained on from T photos, without fine-tuning.
"""

import contextlib
import dataclasses
import functools
import pathlib
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf

from tf_talkinghead import config as configs
from tf_talkinghead import metrics
from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import methods, protocol
from tf_talkinghead.models import guidance
from tf_talkinghead.models.guided import FoldedGuidedGenerator, GuidedGenerator
from tf_talkinghead.personalization import feed_forward, rendering
from tf_talkinghead.training import synthesis
from tf_talkinghead.training.run import meta_train
from tf_talkinghead.weights.store import load_trained

OPTIONS = {
    "data": "prepared dataset to train on; needed, but not with weights",
    "weights": "trained guided weights: parts of them are switched off, nothing is trained",
    "people": "prepared dataset of other people, who are rendered; needed",
    "steps": "updates of each run; default: 400",
    "shots": "T, photos of each person; default: 8",
    "variants": "comma-separated names; default: all",
    "runs": "folder that the runs are kept in and continued from; default: none",
}
_EVERY = 3  # every third scored frame is rendered, to save time


def _no_spline(landmarks, source_landmarks, size):
    """Replaces `guidance.spline` by the identity: photos are not warped."""
    shape = [tf.shape(landmarks)[0], source_landmarks.shape[1], size, size, 2]
    return tf.broadcast_to(tf.constant(guidance.grid(size)), shape)


def _no_foreground(body):
    """`_body` with a foreground of 1: everything moves with the head."""

    def everything(*arguments):
        mask, colour, foreground, residual = body(*arguments)
        return mask, colour, tf.ones_like(foreground), residual

    return everything


def _no_vector(embed):
    """Replaces the embedding by zeros: AdaIN has the same parameters for everybody."""
    return lambda *arguments: 0.0 * embed(*arguments)


def _no_morphing(offsets_between):
    """Replaces the offsets between photos by zeros: hair stays where each photo shows it."""
    return lambda *arguments: tf.zeros_like(offsets_between(*arguments))


_EMBEDDINGS = ((synthesis, "embed_context"), (feed_forward, "embed"))
_GENERATORS = (GuidedGenerator, FoldedGuidedGenerator)
# Name -> (configuration changes, patches). A patch is (object, name of its attribute, function from
# the attribute's value to the value that replaces it).
VARIANTS = {
    "whole": ({}, ()),
    "no_spline": ({}, ((guidance, "spline", lambda _: _no_spline),)),
    "no_foreground": ({"model.foreground": False}, ()),
    "no_residual_flow": ({"model.residual_flow": 0.0}, ()),
    "no_adain": ({}, tuple((*place, _no_vector) for place in _EMBEDDINGS)),
    "no_discriminator": ({"losses.adversarial": 0.0, "losses.feature_matching": 0.0}, ()),
}
# The same for trained weights; a loss cannot be switched off after training.
SWITCHED = {name: variant for name, variant in VARIANTS.items() if name != "no_discriminator"}
SWITCHED["no_morphing"] = ({}, ((rendering, "offsets_between", _no_morphing),))
SWITCHED["no_foreground"] = ({}, tuple((G, "_body", _no_foreground) for G in _GENERATORS))


def run(preset, options):
    """Measures each variant, see the module docstring.

    Args:
      preset: a preset with a guided generator; not used with the option `weights`.
      options: as in OPTIONS.

    Returns:
      {figure: number}: SSIM, SSIM of the face, L1 and sharpness of each variant.

    Raises:
      InputError: data or people are not given, or there is no such variant.
    """
    if "people" not in options or len({"data", "weights"} & options.keys()) != 1:
        raise InputError(
            "ablation needs --option=people=DATASET and either --option=data=DATASET or "
            "--option=weights=WEIGHTS"
        )
    variants = SWITCHED if "weights" in options else VARIANTS
    names = options.get("variants", ",".join(variants)).split(",")
    if unknown := set(names) - variants.keys():
        raise InputError(
            f"--option=variants: expected names of {', '.join(variants)}, got {', '.join(unknown)}"
        )
    shots = int(options.get("shots", 8))
    with contextlib.ExitStack() as stack:
        if "weights" in options:
            make = _switching(options["weights"])
            figures = {"weights": options["weights"]}
        else:
            steps = int(options.get("steps", 400))
            folder = options.get("runs") or stack.enter_context(tempfile.TemporaryDirectory())
            make = _training(preset, steps, options["data"], pathlib.Path(folder))
            figures = {"steps": float(steps)}
        figures["photos"] = float(shots)
        for name in names:
            changes, patches = variants[name]
            with contextlib.ExitStack() as patched:
                for owner, attribute, replacement in patches:
                    new = replacement(getattr(owner, attribute))
                    patched.enter_context(mock.patch.object(owner, attribute, new))
                scores = _scores(make(name, changes), options["people"], shots)
            figures |= {f"{name}_{key}": value for key, value in scores.items()}
    return figures


def _switching(weights):
    """Function (name, configuration changes) -> the trained weights with these changes."""
    trained = load_trained(weights)
    if trained.config.model.generator != "guided":
        raise InputError(f"--option=weights={weights}: these weights are not guided")

    def make(name, changes):
        return dataclasses.replace(trained, config=configs.replace(trained.config, changes))

    return make


def _training(preset, steps, data, folder):
    """Function (name, configuration changes) -> weights trained with these changes."""
    base = configs.replace(
        configs.preset(preset),
        {"meta.steps": steps, "losses.adversarial_start": steps // 4, "meta.ema_decay": 0.98},
    )
    if base.model.generator != "guided":
        raise InputError(
            f"--preset={preset}: expected a preset with a guided generator, such as guided"
        )

    def make(name, changes):
        meta_train(configs.replace(base, changes), data, folder / name)
        return load_trained(folder / name)

    return make


def _scores(trained, people, shots):
    """{measure: mean over people} of feed-forward avatars of `shots` photos."""
    method = methods.model_method("feed_forward", trained)
    size, config, found = trained.config.model.image_size, EvaluationConfig(shots=(shots,)), []
    for source in protocol.sources(people):
        if source.frames == 1:
            continue
        clip = source.load(size, config.max_frames)
        try:
            chosen = protocol.split(len(clip.images), config, source.clip)
        except InputError:
            continue  # too short for T frames
        learn, shown = chosen.learn[:shots], chosen.holdout[::_EVERY]
        driving, truth = np.float32(clip.landmarks[shown]), clip.images[shown]
        frames = method(clip.images[learn], clip.landmarks[learn])(driving)
        mask = metrics.face_mask(driving, size)
        measure = functools.partial(metrics.ssim, truth, frames)
        found.append(
            {
                "ssim": measure().mean(),
                "ssim_face": measure(mask).mean(),
                "l1": metrics.l1(truth, frames).mean(),
                "sharpness": metrics.sharpness(truth, frames).mean(),
            }
        )
    if not found:
        raise InputError(
            f"--option=people={people}: no clip is long enough for {shots} photos and scored "
            "frames; give longer clips, or a smaller --option=shots"
        )
    return {key: float(np.mean([row[key] for row in found])) for key in found[0]}
