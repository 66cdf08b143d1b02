"""The configuration: the paper's values, presets that fit together, refusals by field name."""

import dataclasses
import json
import pathlib
import typing

import pytest

from tf_talkinghead import config_checks
from tf_talkinghead.config import (
    PRESETS,
    SECTIONS,
    Config,
    ConfigError,
    EvaluationConfig,
    MetaConfig,
    PersonalizeConfig,
    PreparationConfig,
    from_json,
    preset,
    replace,
    to_json,
    with_perceptual,
)

ROOT = pathlib.Path(__file__).parents[1]


def fields():
    """(section name, dataclass field) of every leaf of every configuration class."""
    for cls, section in SECTIONS.items():
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if not dataclasses.is_dataclass(hints[field.name]):
                yield section, field, hints[field.name]


def test_paper_preset_holds_the_papers_numbers():
    config = preset("paper")
    assert (config.model.image_size, config.model.embedding_size) == (256, 512)
    assert config.model.embedder_channels == (64, 128, 256, 512, 512, 512)
    assert config.model.generator_channels == (64, 128, 256, 512)
    assert (config.model.attention_down_size, config.model.attention_up_size) == (32, 64)
    losses = config.losses
    assert (losses.perceptual, losses.vgg19, losses.vggface) == ("vgg", 0.15, 0.025)
    assert (
        losses.adversarial,
        losses.feature_matching,
        losses.match,
        losses.adversarial_start,
    ) == (1, 10, 10, 0)
    assert (losses.pixel, losses.gradient, losses.face, losses.structure) == (0, 0, 0, 0)
    meta = config.meta
    assert (meta.learning_rate, meta.discriminator_learning_rate, meta.discriminator_steps) == (
        5e-5,
        2e-4,
        2,
    )
    assert (meta.shots, meta.adam_beta_1, meta.adam_beta_2, meta.adam_epsilon) == (
        8,
        0,
        0.999,
        1e-5,
    )
    assert config.model.spectral_norm_eps == 1e-4


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name):
    config = preset(name)
    assert config.preset == name
    assert from_json(to_json(config)) == config
    assert from_json(json.dumps(json.loads(to_json(config)))) == config


def test_presets_have_the_sizes_they_are_for():
    assert [preset(name).model.image_size for name in ("paper", "demo", "tiny")] == [256, 128, 32]
    assert [len(preset(name).model.embedder_channels) for name in ("paper", "demo", "tiny")] == [
        6,
        5,
        3,
    ]
    assert [len(preset(name).model.generator_channels) for name in ("paper", "demo", "tiny")] == [
        4,
        4,
        2,
    ]


def test_json_without_a_newer_field_takes_its_default():
    tree = json.loads(to_json(preset("tiny")))
    del tree["losses"]["vgg19_weights"]
    assert from_json(json.dumps(tree)) == preset("tiny")


def test_replace_changes_only_what_it_names():
    changed = replace(preset("tiny"), {"meta.batch_size": 8, "data.augment.flip": True})
    assert (changed.meta.batch_size, changed.data.augment.flip) == (8, True)
    assert replace(changed, {"meta.batch_size": 2, "data.augment.flip": False}) == preset("tiny")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("meta.batch_sise", 8, "no such field"),
        ("meta.batch_size", 0, "expected 1 or more, got 0"),
        ("meta.batch_size", 2.5, "expected int"),
        ("meta.batch_size", True, "expected int"),
        ("meta.learning_rate", float("nan"), "finite"),
        ("meta.learning_rate", -1e-4, "expected 0 to 1"),
        ("meta.ema_decay", 1.0, "below 1"),
        ("meta.micro_batches", 3, "divisor of batch_size 2"),
        ("meta.dtype", "float64", "mixed_bfloat16"),
        ("meta.variant", "FT", "expected one of ft, ff"),
        ("losses.perceptual", "vgg16", "expected one of vgg, dlib"),
        ("losses.match", -1.0, "expected 0 or more"),
        ("export.jpeg_quality", 101, "expected 1 to 100"),
        ("meta.dtype", "mixed_float16", "mixed_bfloat16"),
        ("meta.epochs", -1, "expected 0 or more"),
        ("personalize.face", "much", "expected float"),
        ("personalize.face", -1.0, "expected 0 or more"),
        ("data.max_frames", 160, "setting of prepare_dataset"),
        ("data.augment.colour", 1.5, "expected 0 to 1"),
        ("data.augment.flip", 1, "expected bool"),
        ("personalize.mode", "fine-tune", "fine_tune"),
        ("model.image_size", 48, "power of two"),
        ("model.embedder_channels", (8, 16), "expected 3 numbers (32 px down to 4x4), got 2"),
        ("model.embedder_channels", (), "at least one"),
        ("model.embedder_channels", "8,16,16", "list of integers"),
        ("model.generator_channels", (8, 8, 8, 8), "at most 3"),
        ("model.generator_channels", (8, 0), "expected 1 to 8192, got 0"),
        ("model.embedding_size", 32, "the last of embedder_channels, 16"),
        ("preset", "small", "expected one of paper, demo, guided, tiny"),
    ],
)
def test_impossible_values_are_refused_by_name(path, value, said):
    with pytest.raises(ConfigError) as refusal:
        replace(preset("tiny"), {path: value})
    assert str(refusal.value).startswith(f"{path}: ")
    assert said in str(refusal.value)


def test_a_section_made_directly_is_checked_too():
    with pytest.raises(ConfigError, match=r"^meta\.shots: "):
        MetaConfig(shots=0)
    with pytest.raises(ConfigError, match=r"^evaluation\.shots: "):
        EvaluationConfig(shots=(1, 0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "schema"),
        ('{"schema": 99}', "schema: expected 1, got 99"),
        ('{"schema": 1, "colour": 2}', "colour: no such field"),
        ('{"schema": 1, "meta": 3}', "expected an object"),
        ('{"schema": 1, "meta": {"steps": "many"}}', "meta.steps: expected int"),
        ('{"schema": 1, "losses": {"match": NaN}}', "losses.match: expected a finite number"),
    ],
)
def test_bad_json_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        from_json(text)


def test_float16_is_refused_with_what_to_use():
    with pytest.raises(ConfigError, match="float16 training is gone; mixed_bfloat16"):
        replace(preset("tiny"), {"meta.dtype": "mixed_float16"})


@pytest.mark.parametrize(
    "changes",
    [
        {"losses.structure": 1.0, "losses.parts": 1.0},
        {"losses.structure": 1.0, "personalize.parts": 1.0},
        {"personalize.structure": 1.0, "personalize.parts": 1.0},
    ],
)
def test_close_ups_smaller_than_ssims_window_are_refused(changes):
    """At 32 px a close-up has 8; SSIM's window is 11."""
    with pytest.raises(ConfigError, match=r"losses\.parts: .*11 px.*32 gives 8"):
        replace(preset("tiny"), changes)
    larger = {"model.image_size": 64, "model.embedder_channels": (8, 8, 16, 16)}
    replace(preset("tiny"), {**changes, **larger})


def test_close_ups_need_a_term_to_compare_them_by():
    with pytest.raises(ConfigError, match=r"losses\.parts: .*pixel, gradient or structure"):
        replace(preset("paper"), {"losses.parts": 1.0})


def test_fine_tuning_keeps_meta_learnings_terms_unless_it_sets_its_own():
    config = with_perceptual(preset("paper"), "dlib")
    tuned = config.personalize.losses(config.losses)
    assert (tuned.face, tuned.structure, tuned.pixel) == (1.0, 1.0, 10.0)
    assert tuned == config.losses
    demo = preset("demo")
    tuned = demo.personalize.losses(demo.losses)
    assert (tuned.face, tuned.structure, tuned.parts) == (0.0, 5.0, 1.0)
    assert from_json(to_json(config)) == config


def test_dlib_terms_replace_vgg_and_leave_a_presets_own_alone():
    paper = preset("paper")
    assert with_perceptual(paper, "vgg") == paper
    assert with_perceptual(preset("demo"), "dlib") == preset("demo")
    assert with_perceptual(paper, "dlib").losses.perceptual == "dlib"


@pytest.mark.parametrize(("images", "updates"), [(1, 40), (8, 40), (9, 80), (32, 160)])
def test_fine_tuning_lasts_the_papers_40_epochs(images, updates):
    """Batches of 8: an epoch of 32 images is 4 updates, one of 9 is 2."""
    assert preset("paper").personalize.updates(images) == updates


def test_stored_fine_tuning_steps_keep_their_meaning():
    assert preset("demo").personalize.updates(8) == preset("demo").personalize.updates(32) == 300
    assert PersonalizeConfig(steps=7, single_steps=3).updates(1) == 3


def test_a_config_of_version_0_1_still_loads():
    """It had the preparation's settings in section `data`, and knew neither epochs nor guided
    generators.
    """
    stored = json.loads(to_json(preset("tiny")))
    new = {"meta": ["epochs"], "personalize": ["epochs"], "model": ["generator", "flow_size"]}
    for section, names in new.items():
        for name in names:
            del stored[section][name]
    stored["data"] = {**dataclasses.asdict(PreparationConfig(detect_every=10)), **stored["data"]}
    assert from_json(json.dumps(stored)) == preset("tiny")
    stored["data"]["colour"] = 1
    with pytest.raises(ConfigError, match=r"data\.colour: no such field"):
        from_json(json.dumps(stored))


def test_a_config_of_a_generator_with_a_detail_head_still_loads():
    """So that `personalize --refresh` reads avatars that were made before the head was removed."""
    tree = json.loads(to_json(preset("guided")))
    tree["model"]["detail_channels"] = 16
    assert from_json(json.dumps(tree)) == preset("guided")


def test_the_shipped_demo_config_loads():
    text = (ROOT / "tf_talkinghead/weights/demo/config.json").read_text()
    assert from_json(text).model == preset("demo").model


def test_every_number_has_a_range_and_every_entry_a_field():
    numbers = {
        f"{section}.{field.name}" for section, field, hint in fields() if hint not in (str, bool)
    }
    assert set(config_checks.RANGES) == numbers
    texts = {f"{section}.{field.name}" for section, field, hint in fields() if hint is str}
    assert set(config_checks.CHOICES) == texts - {"losses.vgg19_weights", "losses.vggface_weights"}


def test_config_names_its_sections_as_the_checks_do():
    sections = {field.name for field in dataclasses.fields(Config)} - {"preset"}
    assert sections <= set(SECTIONS.values())
