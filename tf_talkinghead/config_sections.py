"""The sections of the configuration: every setting of the project and the one owner of its default.

A field's comment gives the paper's value and section (Zakharov et al., ICCV 2019); "ours" marks
what the paper leaves open. The defaults are the paper's. presets.py holds what each preset changes
of them, config_checks.py which values are allowed; config.py reads and writes a run's settings.
"""

import dataclasses
from dataclasses import dataclass, field

from tf_talkinghead import config_checks
from tf_talkinghead.config_checks import ConfigError

# Epochs of meta-learning where no number is given (Sec. 4); an epoch is one episode of each video.
PAPER_EPOCHS = {"ft": 75, "ff": 150}


class _Section:
    """Base of the sections: checks its fields when constructed; ConfigError names the field."""

    def __post_init__(self):
        found = config_checks.problem(SECTIONS[type(self)], vars(self))
        if found:
            raise ConfigError(found)


@dataclass(frozen=True)
class ModelConfig(_Section):
    """Shapes of E, G, P and D (Sec. 3.1 and 4, "implementation details")."""

    # "direct": the paper's; "guided": shown the person's photos (models/guided.py); ours
    generator: str = "direct"
    image_size: int = 256  # H = W, pixels; paper 256
    # E and V, down to 4x4; paper 64..512
    embedder_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    # G's down part, reversed for the up part; paper 64..512
    generator_channels: tuple[int, ...] = (64, 128, 256, 512)
    generator_residual_blocks: int = 4  # at the bottleneck of G; ours (paper: "a sequence")
    embedding_size: int = 512  # N; paper 512
    attention_down_size: int = 32  # self-attention in E, V and G's down part at this size; paper 32
    attention_up_size: int = 64  # self-attention in G's up part; paper 64
    spectral_norm_eps: float = 1e-4  # an author's later code
    instance_norm_eps: float = 1e-5  # ours (paper silent)
    flow_size: int = 64  # guided: side of the grid on which the photos' flow is computed, in cells
    # guided: largest learned correction of the flow, a share of the picture's side
    residual_flow: float = 0.1
    # guided: whether G learns what moves with the head, so that the background stays
    foreground: bool = False

    @property
    def working_size(self) -> int:
        """Side in pixels at which E, V and G's body work: image_size, or half of it if guided."""
        return self.image_size // 2 if self.generator == "guided" else self.image_size


@dataclass(frozen=True)
class LossConfig(_Section):
    """Weights of the loss terms (Sec. 3.2 and 4, arXiv v2)."""

    # "vgg" (paper: VGG19 and VGGFace) or "dlib" (ours: pixels and dlib's face network)
    perceptual: str = "vgg"
    vgg19: float = 1.5e-1  # paper 1.5e-1
    vggface: float = 2.5e-2  # paper 2.5e-2
    vgg19_weights: str = ""  # VGG19's file; empty is Keras's own, cached or downloaded; ours
    vggface_weights: str = ""  # VGGFace's file, which has no default; ours
    pixel: float = 0.0  # L1 of pixels; ours, paper 0
    gradient: float = 0.0  # L1 of horizontal and vertical differences; ours, paper 0
    structure: float = 0.0  # 1 - SSIM; ours, paper 0
    # weight of pixel, gradient and structure computed again on close-ups of eyes and mouth; ours,
    # paper 0
    parts: float = 0.0
    face: float = 0.0  # L1 of dlib face-network activations on the face box; ours, paper 0
    part_box_margin: float = 0.35  # a part's box grown by this share; ours
    adversarial: float = 1.0  # paper 1
    feature_matching: float = 1e1  # paper 1e1
    match: float = 1e1  # paper 1e1 (v1 of the paper had 8e1)
    face_box_margin: float = 0.10  # the landmarks' box grown by this share; ours
    adversarial_start: int = 0  # E + G updates before the D terms and D take part; ours, paper 0


@dataclass(frozen=True)
class MetaConfig(_Section):
    """Meta-learning (Sec. 3.2 and 4)."""

    # E + G updates in all; 0: as many as `epochs` come to (a run stores the number)
    steps: int = 0
    # episodes of each video, where `steps` is 0; 0: PAPER_EPOCHS, paper 75 (ft) and 150 (ff)
    epochs: int = 0
    batch_size: int = 48  # global, episodes; an author's later code (paper silent)
    shots: int = 8  # K; paper 8
    variant: str = "ft"  # "ft" with the match term, "ff" without; paper has both
    learning_rate: float = 5e-5  # E, G, P; paper 5e-5
    discriminator_learning_rate: float = 2e-4  # V, W, w_0, b; paper 2e-4
    discriminator_steps: int = 2  # D updates for one E + G update; paper 2
    # share of all steps, at the end, over which both rates fall linearly to 0; ours, paper 0
    rate_decay: float = 0.0
    adam_beta_1: float = 0.0  # an author's later code
    adam_beta_2: float = 0.999  # an author's later code
    adam_epsilon: float = 1e-5  # an author's later code
    # number of parts of a replica's batch over which gradients are accumulated; ours
    micro_batches: int = 1
    dtype: str = "float32"  # "float32" or "mixed_bfloat16"; ours
    jit_compile: bool = False  # compile the forward passes with XLA; ours
    ema_decay: float = 0.999  # of E and G; ours
    seed: int = 0
    checkpoint_every: int = 1000  # steps
    keep_checkpoints: int = 3  # the newest N; the best is kept besides
    summary_every: int = 50  # steps between scalars
    evaluate_every: int = 1000  # steps between held-out evaluations and picture grids
    holdout_people: int = 0  # identities kept out of training, to select the best checkpoint by
    holdout_episodes: int = 32  # episodes of held-out people in one evaluation


@dataclass(frozen=True)
class AugmentConfig(_Section):
    """Augmentation, the same for all frames of an episode (ours; the paper names none)."""

    flip: bool = False  # mirror, with the landmarks relabelled
    colour: float = 0.0  # strength of brightness, contrast, saturation and hue changes, 0 off to 1
    geometry: float = 0.0  # strength of scale, aspect, rotation and shift, 0 off to 1


@dataclass(frozen=True)
class PreparationConfig(_Section):
    """Preparation of data, from video to records.

    Not part of a run's `Config`: `dataset.json` holds the settings its records were made with.
    """

    size: int = 256  # pixels of a record's frames; paper 256
    max_frames: int = 64  # frames kept of a clip, evenly spaced; ours
    clips_per_shard: int = 256  # ours
    # the square's side is (1 + 2 margin) x the face box's larger side; ours
    crop_margin: float = 0.45
    # the square's centre lies above the landmarks' centre by this share of their height, to leave
    # room for hair; ours
    crop_rise: float = 0.12
    jpeg_quality: int = 95  # ours
    min_face_size: int = 48  # pixels of the source; smaller faces are rejected; ours
    least_face_share: float = 0.25  # share of a clip's frames in which its face must be seen; ours
    detect_every: int = 5  # frames between two detector runs; ours


@dataclass(frozen=True)
class EpisodeConfig(_Section):
    """From records to episodes (Sec. 3.2); section `data` of a run's `Config`."""

    # clips of fewer than K + 1 frames: "repeat" frames or "skip" the clip; ours
    short_clips: str = "repeat"
    # share of episodes whose context differs most from the target: mouth, eyes, turn; ours
    hard_pairs: float = 0.0
    # share of episodes one of whose context frames is near the target; ours
    near_pairs: float = 0.0
    # share of episodes drawn from single photos; 0: photos are drawn like any other video; ours
    still_share: float = 0.0
    gaze_dropout: float = 0.0  # share of episodes in which pupils count as unknown; ours
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class PersonalizeConfig(_Section):
    """A new person (Sec. 3.3)."""

    mode: str = "fine_tune"  # "fine_tune" (paper FT), "feed_forward" (paper FF) or "vector" (ours)
    shots: int = 8  # T, images used, or all where there are fewer; paper 1, 8, 32
    steps: int = 0  # generator updates; 0: as many as `epochs` come to
    epochs: int = 40  # passes over the T images, where `steps` is 0; paper 40
    batch_size: int = 8  # ours
    learning_rate: float = 5e-5  # psi; paper 5e-5 as in meta-learning
    vector_learning_rate: float = 5e-5  # psi'; paper as psi
    adam_beta_1: float = 0.0  # as in meta-learning
    # weights of these loss terms in fine-tuning; None: those of meta-learning, as in the paper
    structure: float | None = None
    parts: float | None = None
    face: float | None = None
    discriminator_learning_rate: float = 2e-4  # paper 2e-4
    discriminator_steps: int = 1  # D updates for one G update; ours
    ema_decay: float = 0.99  # ours; 0 turns the average off
    # share of all rates left after their cosine decay; ours, paper constant
    final_rate: float = 1.0
    warm_up: int = 0  # updates over which the rates rise to their full value; ours
    # share of the updates after which D takes part, 1 never; ours, paper 0
    adversarial_from: float = 0.0
    # share of training pairs warped towards another pose, pinned at the border; ours
    warp: float = 0.0
    warped_pairs: int = 200  # number of such pairs; ours
    # how far towards another image's pose a pair is warped, a share of the way; ours
    warp_reach: float = 0.5
    # strength of scripted motions among the pairs, 1 a few degrees of turning; ours
    warp_motion: float = 1.0
    single_steps: int = 40  # updates where there is one image only; paper 40 epochs of it
    holdout_from: int = 12  # from this many images on, one is held out for early stopping; ours
    # updates between two evaluations on the held-out image, each kept as an intermediate; ours
    evaluate_every: int = 50
    patience: int = 4  # such evaluations without improvement before stopping; ours
    seed: int = 0

    def updates(self, images: int) -> int:
        """Number of generator updates for a person of `images` images.

        `single_steps` for one image; otherwise `steps`, or `epochs` passes where `steps` is 0.
        """
        if images == 1:
            return self.single_steps
        return self.steps or self.epochs * -(-images // self.batch_size)

    def losses(self, meta: LossConfig) -> LossConfig:
        """Loss weights of fine-tuning: those of `meta`, except for the terms this section sets."""
        own = {"structure": self.structure, "parts": self.parts, "face": self.face}
        given = {name: value for name, value in own.items() if value is not None}
        return dataclasses.replace(meta, **given)


@dataclass(frozen=True)
class ExportConfig(_Section):
    """The SavedModel of a person (ours)."""

    dtype: str = "float32"  # of the stored weights: "float32", "float16" or "bfloat16"
    # convolutions in bfloat16: faster on some CPUs; frames differ by a few of 255 levels
    bfloat16_compute: bool = False
    # Rows in one server-side batch: the largest power of two whose batch takes under 400 MB
    # (`benchmark serving --option=measure=memory`: paper 335 MB for 4, 864 for 8; demo 146 for 16,
    # 308 for 32), and 16 at most, since beyond 8 a frame gets no cheaper and other callers wait
    # longer.
    max_batch_size: int = 4
    batch_timeout_micros: int = 2000  # how long the server waits for a batch to fill
    jpeg_quality: int = 95
    watermark: bool = True  # invisible mark in every frame of 128 px and more
    # Photos that a guided avatar carries at most, 0.2 MB each at 256 px. With more than eight, as
    # many as are blended, a turn is less even.
    sources: int = 8
    # side of a guided avatar's frames in pixels: the model's, or twice that, which needs no
    # training; 0: the model's
    size: int = 0
    bank_sources: int = 2  # photos of each member that a bank of guided avatars carries at most


@dataclass(frozen=True)
class EvaluationConfig(_Section):
    """The evaluation protocol of Sec. 4 and our choices in it; not part of a run's `Config`."""

    shots: tuple[int, ...] = (1, 8, 32)  # T; paper 1, 8, 32
    holdout: int = 32  # frames that are scored; paper 32
    gap: int = 10  # frames between the last that may be learned from and the first scored; ours
    consecutive: int = 4  # frames in each stretch of scored frames: jitter needs neighbours; ours
    # share of a clip, from its start, that may be learned from, where the clip is long enough; ours
    learn_share: float = 0.6
    max_frames: int = 600  # of a video, from its start; ours
    gallery_people: int = 40  # other people, at least, that rank-1 identification picks from; ours
    smooth: bool = True  # avatars are driven by landmarks smoothed as `drive` smooths them; ours
    cross_shots: int = 8  # T of cross-person driving, 0 leaves it out; ours
    pictures: int = 8  # scored frames kept as pictures, per person and method; ours
    seed: int = 0


# Each section's name in error messages.
SECTIONS = {
    ModelConfig: "model",
    LossConfig: "losses",
    MetaConfig: "meta",
    AugmentConfig: "data.augment",
    EpisodeConfig: "data",
    PreparationConfig: "preparation",
    PersonalizeConfig: "personalize",
    ExportConfig: "export",
    EvaluationConfig: "evaluation",
}
