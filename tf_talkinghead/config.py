"""The configuration of a run: presets, changes of single fields by name, and JSON.

Presets: `paper` (256 px), `demo` (128 px, trains and runs on a CPU), `guided` (256 px) and `tiny`
(32 px, for tests). A run writes its resolved `Config` as JSON beside its checkpoints, and every
later step reads that file instead of asking again. Settings of data preparation are not part of
it: they are in `dataset.json`, beside the records made with them.

    config = preset("demo")
    config = replace(config, {"meta.batch_size": 8})
    config == from_json(to_json(config))
"""

import dataclasses
import json
from dataclasses import dataclass, field

from tf_talkinghead import config_checks
from tf_talkinghead.config_checks import ConfigError, build
from tf_talkinghead.config_sections import (
    PAPER_EPOCHS,
    SECTIONS,
    AugmentConfig,
    EpisodeConfig,
    EvaluationConfig,
    ExportConfig,
    LossConfig,
    MetaConfig,
    ModelConfig,
    PersonalizeConfig,
    PreparationConfig,
)
from tf_talkinghead.presets import OVERRIDES

__all__ = [
    "PAPER_EPOCHS",
    "PRESETS",
    "SECTIONS",
    "AugmentConfig",
    "Config",
    "ConfigError",
    "EpisodeConfig",
    "EvaluationConfig",
    "ExportConfig",
    "LossConfig",
    "MetaConfig",
    "ModelConfig",
    "PersonalizeConfig",
    "PreparationConfig",
    "from_json",
    "preset",
    "replace",
    "to_json",
    "with_perceptual",
]

SCHEMA_VERSION = 1
PRESETS = tuple(OVERRIDES)
_GONE = {"detail_channels"}  # fields of the section `model` in earlier versions
_PREPARATION = {item.name for item in dataclasses.fields(PreparationConfig)}


@dataclass(frozen=True)
class Config:
    """The resolved settings of one run."""

    preset: str = "paper"
    model: ModelConfig = field(default_factory=ModelConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    data: EpisodeConfig = field(default_factory=EpisodeConfig)
    personalize: PersonalizeConfig = field(default_factory=PersonalizeConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self):
        fine_tuning = self.personalize.losses(self.losses)
        found = config_checks.picture_problem(self.model, self.losses, fine_tuning)
        found = found or config_checks.export_size_problem(self.model, self.export)
        if self.preset not in PRESETS:
            found = f"preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}"
        if found:
            raise ConfigError(found)


def preset(name: str) -> Config:
    """The configuration called `name`, one of PRESETS; ConfigError for any other name."""
    if name not in OVERRIDES:
        raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return replace(Config(preset=name), OVERRIDES[name])


def replace(config: Config, changes: dict[str, object]) -> Config:
    """A copy of `config` with some fields changed.

    Args:
      config: the configuration to copy.
      changes: dotted field name -> new value, for example `{"meta.batch_size": 8}`.

    Raises:
      ConfigError: an unknown field or an impossible value; the message names the field.
    """
    tree = dataclasses.asdict(config)
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            remedy = (
                "; it is a setting of prepare_dataset"
                if parents == ["data"] and leaf in _PREPARATION
                else ""
            )
            raise ConfigError(f"{path}: no such field{remedy}")
        node[leaf] = value
    return build(Config, tree)


def with_perceptual(config: Config, name: str) -> Config:
    """A copy of `config` whose content loss is `name`, "vgg" or "dlib".

    Where "dlib" replaces "vgg", the weights of the pixel, gradient, face and structure terms are
    set to those of the preset `demo`.
    """
    changes = {"losses.perceptual": name}
    if name == "dlib" and config.losses.perceptual != "dlib":
        demo = preset("demo").losses
        own = {
            "pixel": demo.pixel,
            "gradient": demo.gradient,
            "face": demo.face,
            "structure": demo.structure,
        }
        changes.update({f"losses.{term}": weight for term, weight in own.items()})
    return replace(config, changes)


def to_json(config: Config) -> str:
    """`config` as indented JSON, with the schema version."""
    return json.dumps({"schema": SCHEMA_VERSION, **dataclasses.asdict(config)}, indent=2) + "\n"


def from_json(text: str | bytes) -> Config:
    """The configuration in a text that `to_json` wrote.

    Files of version 0.1 are read too. Their section `data` holds fields of data preparation that
    say nothing about the data used: these are ignored. So is the size of the detail head that the
    guided generator once had: its avatars can be read, and made anew from their kept crops. Fields
    that a file lacks because they were added later get default values: those of the preset in the
    sections `personalize` and `export`, and the paper's (the dataclass's) in all others, since the
    weights were trained with these terms off.

    Raises:
      ConfigError: not JSON, another schema, an unknown field or an impossible value.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config: not JSON ({error})") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA_VERSION:
        found = tree.get("schema") if isinstance(tree, dict) else tree
        raise ConfigError(f"schema: expected {SCHEMA_VERSION}, got {found!r}")
    del tree["schema"]
    if isinstance(tree.get("model"), dict):
        tree["model"] = {name: v for name, v in tree["model"].items() if name not in _GONE}
    if isinstance(tree.get("data"), dict):
        tree["data"] = {name: v for name, v in tree["data"].items() if name not in _PREPARATION}
    return build(Config, _completed(tree))


def _completed(tree):
    """`tree` with its preset's values for fields it lacks in the sections that later steps read."""
    if tree.get("preset") not in PRESETS:
        return tree
    defaults = dataclasses.asdict(preset(tree["preset"]))
    for section in ("personalize", "export"):
        if isinstance(tree.get(section, {}), dict):
            tree[section] = {**defaults[section], **tree.get(section, {})}
    return tree
