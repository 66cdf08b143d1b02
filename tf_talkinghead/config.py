"""Every setting of the project, in frozen dataclasses: the one owner of each default.

A field's comment gives the paper's value and section (Zakharov et al., ICCV 2019); "ours" marks what
the paper leaves open. Presets: `paper` (256 px), `demo` (128 px, trains and runs on a CPU) and `tiny`
(32 px, for tests). A run writes its resolved `Config` as JSON beside its checkpoints, and every later
step reads that file instead of asking again.

    config = preset("demo")
    config = replace(config, {"meta.batch_size": 8})
    config == from_json(to_json(config))
"""

import dataclasses
import json
import typing
from dataclasses import dataclass, field

from tf_talkinghead import config_checks
from tf_talkinghead.presets import OVERRIDES

SCHEMA_VERSION = 1


class ConfigError(ValueError):
    """An unknown field, a wrong type or an impossible value; the message names the field."""


class _Section:
    """A group of fields whose values are checked whenever one is made; ConfigError names the field."""

    def __post_init__(self):
        found = config_checks.problem(_SECTIONS[type(self)], vars(self))
        if found:
            raise ConfigError(found)


@dataclass(frozen=True)
class ModelConfig(_Section):
    """Shapes of E, G, P and D (Sec. 3.1 and 4, "implementation details")."""

    generator: str = "direct"  # "direct": the paper's; "guided": shown the person's photos (models/guided.py); ours
    image_size: int = 256  # H = W, pixels; paper 256
    embedder_channels: tuple[int, ...] = (
        64,
        128,
        256,
        512,
        512,
        512,
    )  # E and V, down to 4x4; paper 64..512
    generator_channels: tuple[int, ...] = (
        64,
        128,
        256,
        512,
    )  # G's down part, reversed for the up part; paper 64..512
    generator_residual_blocks: int = 4  # at the bottleneck of G; ours (paper: "a sequence")
    embedding_size: int = 512  # N; paper 512
    attention_down_size: int = 32  # self-attention in E, V and G's down part at this size; paper 32
    attention_up_size: int = 64  # self-attention in G's up part; paper 64
    spectral_norm_eps: float = 1e-4  # an author's later code
    instance_norm_eps: float = 1e-5  # ours (paper silent)
    flow_size: int = 64  # guided: pixels of the grid on which the photos' displacement is known
    residual_flow: float = (
        0.1  # guided: the farthest a learned displacement reaches, a share of the picture
    )
    detail_channels: int = 16  # guided: of the head that works at the full size

    @property
    def working_size(self) -> int:
        """Pixels at which E, V and the body of G work: half the picture's size for a guided generator."""
        return self.image_size // 2 if self.generator == "guided" else self.image_size


@dataclass(frozen=True)
class LossConfig(_Section):
    """Weights of the loss terms (Sec. 3.2 and 4, arXiv v2)."""

    perceptual: str = (
        "vgg"  # "vgg" (paper: VGG19 and VGGFace) or "dlib" (ours: pixels and dlib's face network)
    )
    vgg19: float = 1.5e-1  # paper 1.5e-1
    vggface: float = 2.5e-2  # paper 2.5e-2
    vgg19_weights: str = ""  # VGG19's file; empty is Keras's own, cached or downloaded; ours
    vggface_weights: str = ""  # VGGFace's file, which has no default; ours
    pixel: float = 0.0  # L1 of pixels; ours, paper 0
    gradient: float = 0.0  # L1 of horizontal and vertical differences; ours, paper 0
    structure: float = 0.0  # 1 - SSIM; ours, paper 0
    parts: float = 0.0  # pixel, gradient and structure once more, on close-ups of eyes and mouth, times this; ours, paper 0
    face: float = 0.0  # L1 of dlib face-network activations on the face box; ours, paper 0
    part_box_margin: float = 0.35  # a part's box grown by this share; ours
    adversarial: float = 1.0  # paper 1
    feature_matching: float = 1e1  # paper 1e1
    match: float = 1e1  # paper 1e1 (v1 of the paper had 8e1)
    face_box_margin: float = 0.10  # the landmarks' box grown by this share; ours
    adversarial_start: int = (
        0  # E + G updates before the D terms and D itself take part; ours, paper 0
    )


@dataclass(frozen=True)
class MetaConfig(_Section):
    """Meta-learning (Sec. 3.2 and 4)."""

    steps: int = (
        1_000_000  # E + G updates in all; paper: 75 epochs (FT), 150 (FF) of one episode a video
    )
    batch_size: int = 48  # global, episodes; an author's later code (paper silent)
    shots: int = 8  # K; paper 8
    variant: str = "ft"  # "ft" with the match term, "ff" without; paper has both
    learning_rate: float = 5e-5  # E, G, P; paper 5e-5
    discriminator_learning_rate: float = 2e-4  # V, W, w_0, b; paper 2e-4
    discriminator_steps: int = 2  # D updates for one E + G update; paper 2
    rate_decay: float = 0.0  # share of all steps, at the end, over which both rates fall linearly to 0; ours, paper 0
    adam_beta_1: float = 0.0  # an author's later code
    adam_beta_2: float = 0.999  # an author's later code
    adam_epsilon: float = 1e-5  # an author's later code
    micro_batches: int = (
        1  # gradients are accumulated over this many parts of a replica's batch; ours
    )
    dtype: str = "float32"  # "float32", "mixed_bfloat16" or "mixed_float16"; ours
    jit_compile: bool = False  # compile the forward passes with XLA; ours
    ema_decay: float = 0.999  # of E and G; ours
    seed: int = 0
    checkpoint_every: int = 1000  # steps
    keep_checkpoints: int = 3  # the newest N; the best is kept besides
    summary_every: int = 50  # steps between scalars
    evaluate_every: int = 1000  # steps between held-out evaluations and picture grids
    holdout_people: int = 0  # identities kept out of training to select by
    holdout_episodes: int = 32  # episodes of held-out people in one evaluation


@dataclass(frozen=True)
class AugmentConfig(_Section):
    """What episodes are varied by, the same way for all frames of one episode (ours; the paper names none)."""

    flip: bool = False  # mirror, with the landmarks relabelled
    colour: float = 0.0  # strength of brightness, contrast, saturation and hue changes, 0 off to 1
    geometry: float = 0.0  # strength of scale, aspect, rotation and shift, 0 off to 1


@dataclass(frozen=True)
class DataConfig(_Section):
    """From video to records and episodes."""

    size: int = 256  # pixels of a record's frames; paper 256
    max_frames: int = 64  # frames kept of a clip, evenly spaced; ours
    clips_per_shard: int = 256  # ours
    crop_margin: float = (
        0.45  # the square's side is (1 + 2 margin) x the face box's larger side; ours
    )
    crop_rise: float = 0.12  # the square's centre lies this share of the landmarks' height above theirs: hair; ours
    least_face_share: float = 0.25  # of a clip's frames that its face must be seen in; ours
    jpeg_quality: int = 95  # ours
    min_face_size: int = 48  # pixels of the source; smaller faces are rejected; ours
    detect_every: int = 5  # frames between two detector runs; ours
    short_clips: str = (
        "repeat"  # clips of fewer than K + 1 frames: "repeat" frames or "skip" the clip; ours
    )
    hard_pairs: float = (
        0.0  # share of episodes whose context differs most from the target: mouth, eyes, turn; ours
    )
    still_share: float = (
        0.0  # share of episodes of clips of one frame; 0: as many as there are; ours
    )
    gaze_dropout: float = 0.0  # share of episodes in which pupils count as unknown; ours
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class PersonalizeConfig(_Section):
    """A new person (Sec. 3.3)."""

    mode: str = "fine_tune"  # "fine_tune" (paper FT), "feed_forward" (paper FF) or "vector" (ours)
    steps: int = 40  # generator updates; paper: 40 epochs of T images
    batch_size: int = 8  # ours
    learning_rate: float = 5e-5  # psi; paper 5e-5 as in meta-learning
    vector_learning_rate: float = 5e-5  # psi'; paper as psi
    adam_beta_1: float = 0.0  # as in meta-learning
    structure: float = 0.0  # weight of 1 - SSIM here, instead of meta-learning's; ours, paper 0
    parts: float = 0.0  # weight of the close-ups of eyes and mouth here, likewise; ours, paper 0
    face: float = 0.0  # weight of the dlib face-network term here, likewise; ours, paper 0
    discriminator_learning_rate: float = 2e-4  # paper 2e-4
    discriminator_steps: int = 1  # D updates for one G update; ours
    ema_decay: float = 0.99  # ours; 0 turns the average off
    final_rate: float = (
        1.0  # of all rates, what is left at the end of their cosine fall; ours, paper constant
    )
    warm_up: int = 0  # updates over which the rates rise to their full height; ours
    adversarial_from: float = (
        0.0  # share of the updates after which D takes part, 1 never; ours, paper 0
    )
    warp: float = (
        0.0  # share of training pairs warped towards another pose, pinned at the border; ours
    )
    warped_pairs: int = 200  # how many such pairs are made; ours
    warp_reach: float = (
        0.5  # how far towards another image's pose a pair is warped, a share of the way; ours
    )
    warp_motion: float = (
        1.0  # strength of made-up motions among the pairs, 1 a few degrees of turning; ours
    )
    single_steps: int = 40  # updates when there is one image only; ours
    holdout_from: int = 12  # from this many images on, one is held out for early stopping; ours
    evaluate_every: int = (
        50  # updates between two looks at the held-out image and kept intermediates; ours
    )
    patience: int = 4  # such looks without improvement before stopping; ours
    seed: int = 0


@dataclass(frozen=True)
class ExportConfig(_Section):
    """The SavedModel of a person (ours)."""

    # Rows in one server-side batch: the largest power of two whose batch takes under 400 MB (`benchmark serving
    # --option=measure=memory`: paper 335 MB for 4, 864 for 8; demo 146 for 16, 308 for 32), and 16 at most, since
    # beyond 8 a frame gets no cheaper and other callers wait longer.
    max_batch_size: int = 4
    batch_timeout_micros: int = 2000  # how long the server waits for a batch to fill
    jpeg_quality: int = 95


@dataclass(frozen=True)
class EvaluationConfig(_Section):
    """The protocol of Sec. 4, and what is ours in it; not part of a run's `Config`."""

    shots: tuple[int, ...] = (1, 8, 32)  # T; paper 1, 8, 32
    holdout: int = 32  # frames a result is judged on; paper 32
    gap: int = 10  # frames between the last that may be learned from and the first judged; ours
    consecutive: int = (
        4  # judged frames come in stretches of so many, so that jitter can be seen; ours
    )
    learn_share: float = (
        0.6  # of the clip, its beginning, is learned from where there is enough; ours
    )
    max_frames: int = 600  # of a video, from its start; ours
    gallery_people: int = 40  # other people, at least, that rank-1 identification picks from; ours
    cross_shots: int = 8  # T of cross-person driving, 0 leaves it out; ours
    pictures: int = 8  # judged frames kept as pictures, per person and method; ours
    seed: int = 0


@dataclass(frozen=True)
class Config:
    """Everything one run was made with."""

    preset: str = "paper"
    model: ModelConfig = field(default_factory=ModelConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    data: DataConfig = field(default_factory=DataConfig)
    personalize: PersonalizeConfig = field(default_factory=PersonalizeConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


_SECTIONS = {
    ModelConfig: "model",
    LossConfig: "losses",
    MetaConfig: "meta",
    AugmentConfig: "data.augment",
    DataConfig: "data",
    PersonalizeConfig: "personalize",
    ExportConfig: "export",
    EvaluationConfig: "evaluation",
}
PRESETS = tuple(OVERRIDES)


def preset(name: str) -> Config:
    """The configuration called `name`, one of PRESETS; ConfigError for any other name."""
    if name not in OVERRIDES:
        raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return replace(Config(preset=name), OVERRIDES[name])


def replace(config: Config, changes: dict[str, object]) -> Config:
    """A copy of `config` with dotted fields changed: `{"meta.batch_size": 8}`; ConfigError names a bad field."""
    tree = dataclasses.asdict(config)
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            raise ConfigError(f"{path}: no such field")
        node[leaf] = value
    return _build(Config, tree, "")


def to_json(config: Config) -> str:
    """`config` as indented JSON, with the schema version."""
    return json.dumps({"schema": SCHEMA_VERSION, **dataclasses.asdict(config)}, indent=2) + "\n"


def from_json(text: str) -> Config:
    """The configuration `to_json` wrote; ConfigError for another schema, unknown fields or impossible values."""
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"config: not JSON ({error})") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA_VERSION:
        found = tree.get("schema") if isinstance(tree, dict) else tree
        raise ConfigError(f"schema: expected {SCHEMA_VERSION}, got {found!r}")
    return _build(Config, {key: value for key, value in tree.items() if key != "schema"}, "")


def _build(cls, tree, prefix):
    """`tree` (nested dicts) as the dataclass `cls`, every value checked against its field's type."""
    if not isinstance(tree, dict):
        raise ConfigError(f"{prefix or 'config'}: expected an object, got {tree!r}")
    hints = typing.get_type_hints(cls)
    for name in tree:
        if name not in hints:
            raise ConfigError(f"{prefix}{name}: no such field")
    if cls is Config and tree.get("preset") not in (None, *PRESETS):
        raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {tree['preset']!r}")
    values = {name: _value(hints[name], value, f"{prefix}{name}") for name, value in tree.items()}
    return cls(**values)


def _value(hint, value, path):
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{path}.")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)) or not all(type(item) is int for item in value):
            raise ConfigError(f"{path}: expected a list of integers, got {value!r}")
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{path}: expected {hint.__name__}, got {value!r}")
    return value
