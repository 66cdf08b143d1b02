"""Validation of a configuration's values: errors name the field.

`RANGES` holds the smallest and largest value of every number (None: no bound; each entry of a tuple
must lie in the range), `CHOICES` the allowed values of texts. `problem` checks one section,
including relations between its fields; `build` makes dataclasses from nested dicts and checks
types.
"""

import dataclasses
import math
import types
import typing

_ANY_COUNT = (0, None)
_COUNT = (1, None)
_WEIGHT = (0, None)
_SHARE = (0, 1)
_RATE = (0, 1)
_BELOW_ONE = (0, 1 - 1e-12)

RANGES = {
    "model.image_size": (8, 4096),
    "model.embedder_channels": (1, 8192),
    "model.generator_channels": (1, 8192),
    "model.generator_residual_blocks": _ANY_COUNT,
    "model.embedding_size": (1, 8192),
    "model.attention_down_size": _ANY_COUNT,
    "model.attention_up_size": _ANY_COUNT,
    "model.spectral_norm_eps": (1e-12, 1),
    "model.instance_norm_eps": (1e-12, 1),
    "model.flow_size": (4, 1024),
    "model.residual_flow": (0, 1),
    "losses.vgg19": _WEIGHT,
    "losses.vggface": _WEIGHT,
    "losses.pixel": _WEIGHT,
    "losses.gradient": _WEIGHT,
    "losses.parts": _WEIGHT,
    "losses.part_box_margin": (0, 10),
    "losses.face": _WEIGHT,
    "losses.structure": _WEIGHT,
    "losses.adversarial": _WEIGHT,
    "losses.feature_matching": _WEIGHT,
    "losses.match": _WEIGHT,
    "losses.face_box_margin": (0, 10),
    "losses.adversarial_start": _ANY_COUNT,
    "meta.steps": _ANY_COUNT,
    "meta.epochs": _ANY_COUNT,
    "meta.batch_size": _COUNT,
    "meta.shots": _COUNT,
    "meta.learning_rate": _RATE,
    "meta.discriminator_learning_rate": _RATE,
    "meta.discriminator_steps": _COUNT,
    "meta.rate_decay": _SHARE,
    "meta.adam_beta_1": _BELOW_ONE,
    "meta.adam_beta_2": _BELOW_ONE,
    "meta.adam_epsilon": (1e-16, 1),
    "meta.micro_batches": _COUNT,
    "meta.ema_decay": _BELOW_ONE,
    "meta.seed": _ANY_COUNT,
    "meta.checkpoint_every": _COUNT,
    "meta.keep_checkpoints": _COUNT,
    "meta.summary_every": _COUNT,
    "meta.evaluate_every": _COUNT,
    "meta.holdout_people": _ANY_COUNT,
    "meta.holdout_episodes": _COUNT,
    "preparation.size": (8, 4096),
    "preparation.max_frames": _COUNT,
    "preparation.clips_per_shard": _COUNT,
    "preparation.crop_margin": (0, 10),
    "preparation.crop_rise": (-1, 1),
    "preparation.least_face_share": _SHARE,
    "preparation.jpeg_quality": (1, 100),
    "preparation.min_face_size": _COUNT,
    "preparation.detect_every": _COUNT,
    "data.hard_pairs": _SHARE,
    "data.near_pairs": _SHARE,
    "data.still_share": _SHARE,
    "data.gaze_dropout": _SHARE,
    "data.augment.colour": _SHARE,
    "data.augment.geometry": _SHARE,
    "personalize.shots": _COUNT,
    "personalize.steps": _ANY_COUNT,
    "personalize.epochs": _COUNT,
    "personalize.batch_size": _COUNT,
    "personalize.learning_rate": _RATE,
    "personalize.vector_learning_rate": _RATE,
    "personalize.adam_beta_1": _BELOW_ONE,
    "personalize.structure": _WEIGHT,
    "personalize.parts": _WEIGHT,
    "personalize.face": _WEIGHT,
    "personalize.discriminator_learning_rate": _RATE,
    "personalize.discriminator_steps": _ANY_COUNT,
    "personalize.ema_decay": _BELOW_ONE,
    "personalize.final_rate": _SHARE,
    "personalize.warm_up": _ANY_COUNT,
    "personalize.adversarial_from": _SHARE,
    "personalize.warp": _SHARE,
    "personalize.warped_pairs": _ANY_COUNT,
    "personalize.warp_reach": (0, 10),
    "personalize.warp_motion": (0, 10),
    "personalize.single_steps": _ANY_COUNT,
    "personalize.holdout_from": _ANY_COUNT,
    "personalize.evaluate_every": _COUNT,
    "personalize.patience": _COUNT,
    "personalize.seed": _ANY_COUNT,
    "export.max_batch_size": _COUNT,
    "export.batch_timeout_micros": _ANY_COUNT,
    "export.jpeg_quality": (1, 100),
    "export.sources": _COUNT,
    "export.size": _ANY_COUNT,
    "export.bank_sources": _COUNT,
    "evaluation.shots": _COUNT,
    "evaluation.holdout": _COUNT,
    "evaluation.gap": _ANY_COUNT,
    "evaluation.consecutive": _COUNT,
    "evaluation.learn_share": _SHARE,
    "evaluation.max_frames": _COUNT,
    "evaluation.gallery_people": _ANY_COUNT,
    "evaluation.cross_shots": _ANY_COUNT,
    "evaluation.pictures": _ANY_COUNT,
    "evaluation.seed": _ANY_COUNT,
}
CHOICES = {
    "model.generator": ("direct", "guided"),
    "losses.perceptual": ("vgg", "dlib"),
    "meta.variant": ("ft", "ff"),
    "meta.dtype": ("float32", "mixed_bfloat16"),
    "data.short_clips": ("repeat", "skip"),
    "personalize.mode": ("fine_tune", "feed_forward", "vector"),
    "export.dtype": ("float32", "float16", "bfloat16"),
}


# Values that older versions accepted, and what to use instead.
REMOVED = {("meta.dtype", "mixed_float16"): "float16 training is gone; mixed_bfloat16 is as fast"}
SSIM_WINDOW = 11  # pixels; Wang et al. 2004: a Gaussian of sigma 1.5
CLOSE_UP_SHARE = 4  # close-ups of losses.parts have the image's size divided by this


class ConfigError(ValueError):
    """An unknown field, a wrong type or an impossible value; the message names the field."""


def problem(section, values):
    """The first fault among a section's `values` (field name -> value), as `section.field: ...`.

    None where all values are allowed.
    """
    for name, value in values.items():
        found = _field_problem(f"{section}.{name}", value)
        if found:
            return found
    relations = {"model": _model_problem, "meta": _meta_problem}.get(section)
    return relations(values) if relations else None


def picture_problem(model, *all_losses):
    """The first loss term that cannot be computed at the model's image size, as text, or None.

    Args:
      model: ModelConfig.
      all_losses: the LossConfigs used with this model, of meta-learning and of fine-tuning.
    """
    size, close_up = model.image_size, model.image_size // CLOSE_UP_SHARE
    for losses in all_losses:
        if losses.structure and size < SSIM_WINDOW:
            return (
                f"losses.structure: SSIM needs {SSIM_WINDOW} px, model.image_size is {size}; set "
                "structure to 0 (in losses and personalize), or image_size to a power of two of at "
                f"least {SSIM_WINDOW}"
            )
        if losses.parts and not (losses.pixel or losses.gradient or losses.structure):
            return (
                "losses.parts: close-ups are compared by pixel, gradient or structure, which are "
                "all 0; give one of them a weight, or set parts to 0"
            )
        if losses.parts and losses.structure and close_up < SSIM_WINDOW:
            return (
                f"losses.parts: with structure (SSIM), close-ups need {SSIM_WINDOW} px, and "
                f"model.image_size {size} gives {close_up}; set parts or structure to 0 (in losses "
                f"and personalize), or image_size to a power of two of at least "
                f"{SSIM_WINDOW * CLOSE_UP_SHARE}"
            )
    return None


def export_size_problem(model, export):
    """What is wrong with `export.size`, the size of exported frames, as text; None if nothing."""
    own = model.image_size
    sizes = (own, 2 * own) if model.generator == "guided" else (own,)
    if export.size and export.size not in sizes:
        more = "" if len(sizes) > 1 else "; only guided weights render at twice their size"
        return f"export.size: expected {' or '.join(map(str, sizes))}, got {export.size}{more}"
    return None


def build(cls, tree, prefix=""):
    """Makes the dataclass `cls` from `tree` (nested dicts), checking values against field types.

    Raises:
      ConfigError: an unknown field, a wrong type or an impossible value.
    """
    if not isinstance(tree, dict):
        raise ConfigError(f"{prefix or 'config'}: expected an object, got {tree!r}")
    hints = typing.get_type_hints(cls)
    for name in tree:
        if name not in hints:
            raise ConfigError(f"{prefix}{name}: no such field")
    return cls(**{name: _value(hints[name], v, f"{prefix}{name}") for name, v in tree.items()})


def _value(hint, value, path):
    if dataclasses.is_dataclass(hint):
        return build(hint, value, f"{path}.")
    if typing.get_origin(hint) is types.UnionType:  # float | None
        return None if value is None else _value(typing.get_args(hint)[0], value, path)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)) or not all(type(item) is int for item in value):
            raise ConfigError(f"{path}: expected a list of integers, got {value!r}")
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{path}: expected {hint.__name__}, got {value!r}")
    return value


def _field_problem(path, value):
    if path in CHOICES and value not in CHOICES[path]:
        remedy = REMOVED.get((path, value))
        more = f" ({remedy})" if remedy else ""
        return f"{path}: expected one of {', '.join(CHOICES[path])}, got {value!r}{more}"
    if path not in RANGES or value is None:
        return None
    low, high = RANGES[path]
    if isinstance(value, (tuple, list)) and not value:
        return f"{path}: expected at least one number, got none"
    for number in value if isinstance(value, (tuple, list)) else (value,):
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number):
            return f"{path}: expected a finite number, got {number!r}"
        if number < low or (high is not None and number > high):
            return f"{path}: expected {_bounds(low, high)}, got {number!r}"
    return None


def _bounds(low, high):
    """A range in words."""
    if high is None:
        return f"{low} or more"
    return f"{low} to {high:g}" if high == int(high) else f"{low} to below 1"


def _model_problem(values):
    size, embedder, generator = (
        values[name] for name in ("image_size", "embedder_channels", "generator_channels")
    )
    if size & (size - 1):
        return f"model.image_size: expected a power of two, got {size}"
    size = size // 2 if values["generator"] == "guided" else size  # where E, V and G's body work
    if size >> len(embedder) != 4:
        wanted = size.bit_length() - 3
        return (
            f"model.embedder_channels: expected {wanted} numbers ({size} px down to 4x4), "
            f"got {len(embedder)}"
        )
    if size >> len(generator) < 4:
        most = size.bit_length() - 3
        return (
            f"model.generator_channels: expected at most {most} numbers ({size} px down to 4x4), "
            f"got {len(generator)}"
        )
    if embedder[-1] != values["embedding_size"]:
        return (
            f"model.embedding_size: expected the last of embedder_channels, {embedder[-1]} "
            f"(e is the sum of its positions), got {values['embedding_size']}"
        )
    return None


def _meta_problem(values):
    if values["batch_size"] % values["micro_batches"]:
        return (
            f"meta.micro_batches: expected a divisor of batch_size {values['batch_size']}, "
            f"got {values['micro_batches']}"
        )
    return None
