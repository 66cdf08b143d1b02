"""Settings of personalisation and export: from a flag, else the run's file, else the default.

    config = resolve(load_trained("runs/mine").config, steps=args.steps, dtype=args.dtype)

This module is the only owner of that rule. The run's file is config.json of a run or of shipped
weights or, when an avatar is exported again, its avatar.json. `config.from_json` puts the preset's
default where the file says nothing. What is resolved here is written down with the avatar
(avatar.json) and with every version it is published as (card.json).
"""

from tf_talkinghead.config import Config, ConfigError, replace
from tf_talkinghead.errors import InputError

_FIELDS = {  # flag -> the fields it sets
    "mode": ("personalize.mode",),
    "shots": ("personalize.shots",),
    "steps": ("personalize.steps", "personalize.single_steps"),
    "seed": ("personalize.seed",),
    "vgg19_weights": ("losses.vgg19_weights",),
    "vggface_weights": ("losses.vggface_weights",),
    "dtype": ("export.dtype",),
    "size": ("export.size",),
    "bfloat16_compute": ("export.bfloat16_compute",),
    "watermark": ("export.watermark",),
}


def resolve(config: Config, **flags) -> Config:
    """`config`, as read from the run's file, with the given flags in place of its values.

    Args:
      config: of a run, of shipped weights or of an avatar.
      flags: names of _FIELDS; None where the user did not give one.

    Raises:
      InputError: a flag has an impossible value; the message names the flag.
    """
    for flag, value in flags.items():
        if value is None:
            continue
        if flag == "steps" and value < 1:
            raise InputError(
                f"--steps={value}: expected 1 or more; --mode=feed_forward does without training"
            )
        try:
            config = replace(config, dict.fromkeys(_FIELDS[flag], value))
        except ConfigError as error:  # "section.field: what is wrong"
            raise InputError(f"--{flag}={value}: {str(error).partition(': ')[2]}") from error
    return config
