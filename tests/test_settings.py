"""Settings of personalisation and export: flag, else the run's file, else default; all stored."""

import dataclasses
import json
import types

import pytest
from PIL import Image

from tests.random_avatars import random_generator
from tf_talkinghead.config import (
    PersonalizeConfig,
    PreparationConfig,
    from_json,
    preset,
    replace,
    to_json,
)
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import workflow
from tf_talkinghead.models import perceptual
from tf_talkinghead.personalization.avatar import load_avatar
from tf_talkinghead.personalization.reference_images import person_images
from tf_talkinghead.personalization.settings import resolve
from tf_talkinghead.weights.identity import DEMO
from tf_talkinghead.weights.store import empty, load_trained, save_trained

RUN = {
    "personalize.single_steps": 2,
    "personalize.patience": 7,
    "personalize.adversarial_from": 1.0,
    "export.jpeg_quality": 71,
}


@pytest.fixture
def photo(portrait, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(portrait).save(path)
    return path


def weights(folder, changes):
    """Weights of preset tiny on disk, whose config.json says `changes`."""
    trained = empty(replace(preset("tiny"), changes))
    trained.generator.set_weights(random_generator(trained.config).get_weights())
    return save_trained(trained, folder)


def card_of(version):
    return json.loads((version / "card.json").read_text())


def test_the_flag_goes_before_the_runs_file_and_that_before_the_default():
    run = replace(preset("tiny"), {"personalize.steps": 9, "export.dtype": "float16"})
    assert resolve(run) == run
    assert resolve(run, steps=None, dtype=None) == run
    flagged = resolve(run, steps=5, mode="vector")
    assert flagged.personalize.steps == flagged.personalize.single_steps == 5
    assert flagged.personalize.mode == "vector" and flagged.export.dtype == "float16"
    assert dataclasses.replace(flagged, personalize=run.personalize) == run  # nothing else changed
    assert resolve(run, dtype="bfloat16").export.dtype == "bfloat16"
    assert resolve(replace(run, {"export.bfloat16_compute": True}), bfloat16_compute=False) == run


def test_what_a_runs_file_does_not_say_is_its_presets():
    """A file of an earlier version lacks later fields: they are preset demo's, not paper's."""
    tree = json.loads(to_json(preset("demo")))
    del tree["personalize"]["parts"], tree["personalize"]["single_steps"], tree["export"]
    tree["personalize"]["steps"] = 11
    found = from_json(json.dumps(tree))
    assert found.personalize == dataclasses.replace(preset("demo").personalize, steps=11)
    assert found.personalize.parts == 1.0 != PersonalizeConfig().parts
    assert found.export == preset("demo").export


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"mode": "magic"}, "--mode=magic: expected one of fine_tune, feed_forward, vector"),
        ({"steps": 0}, "--steps=0: expected 1 or more; --mode=feed_forward"),
        ({"shots": 0}, "--shots=0: expected 1 or more"),
        ({"dtype": "int8"}, "--dtype=int8: expected one of float32, float16, bfloat16"),
    ],
)
def test_a_bad_flag_is_named(flags, said):
    with pytest.raises(InputError, match=f"^{said}"):
        resolve(preset("tiny"), **flags)


def test_an_avatar_is_made_and_published_as_the_runs_file_says(photo, tmp_path):
    """`meta_train --set=personalize.X` and `--set=export.X` reach the avatar, export and card."""
    models = tmp_path / "models"
    changes = {**RUN, "export.dtype": "float16", "personalize.mode": "vector"}
    run = weights(tmp_path / "run", changes)
    made = workflow.make_person(run, "ann", [photo], models, progress=False)
    card = card_of(made.version)
    assert (card["mode"], card["steps"], card["stored_dtype"]) == ("vector", 2, "float16")
    assert card["settings"]["personalize"]["patience"] == 7
    assert card["settings"]["export"]["jpeg_quality"] == 71
    stored = load_avatar(made.work).config  # in the work folder, for the next export
    assert stored == replace(preset("tiny"), changes)
    assert card_of(workflow.publish_again(models, "ann"))["stored_dtype"] == "float16"

    flags = {"mode": "feed_forward", "steps": 3, "dtype": "float32"}
    made = workflow.make_person(run, "bob", [photo], models, **flags, progress=False)
    card = card_of(made.version)
    assert (card["mode"], card["stored_dtype"]) == ("feed_forward", "float32")
    stored = load_avatar(made.work).config
    assert stored.personalize.single_steps == 3 and stored.export.dtype == "float32"
    card = card_of(workflow.publish_again(models, "bob", dtype="bfloat16"))
    assert card["stored_dtype"] == card["settings"]["export"]["dtype"] == "bfloat16"


def test_the_number_of_images_is_the_runs_or_the_flags(photo, portrait, tmp_path):
    Image.fromarray(portrait[:, :500]).save(tmp_path / "second.png")
    images = [photo, tmp_path / "second.png"]
    run = weights(tmp_path / "run", {"personalize.shots": 1, "personalize.mode": "feed_forward"})
    made = workflow.make_person(run, "ann", images, tmp_path / "models", progress=False)
    card = card_of(made.version)
    assert card["images"] == card["settings"]["personalize"]["shots"] == 1
    data = PreparationConfig()
    assert len(person_images(images, 2, 32, data, default_shots=1).images) == 2
    assert len(person_images(images, None, 32, data, default_shots=9).images) == 2


def test_demo_weights_carry_the_presets_recipe():
    assert load_trained("demo").config.personalize == preset("demo").personalize
    stored = json.loads((DEMO / "config.json").read_text())["personalize"]
    recipe = json.loads(to_json(preset("demo")))["personalize"]
    assert stored == recipe  # written out, so that another default does not change these weights


@pytest.fixture
def vgg_run(tmp_path):
    """Weights whose run used VGGFace from a file of another machine."""
    losses = {
        "losses.perceptual": "vgg",
        "losses.vgg19": 0.0,
        "losses.vggface_weights": "/not/on/this/machine/vggface.h5",
    }
    return weights(tmp_path / "run", {**RUN, **losses})


def test_feed_forward_needs_no_content_loss(vgg_run, photo, tmp_path):
    made = workflow.make_person(
        vgg_run, "ann", [photo], tmp_path / "models", mode="feed_forward", progress=False
    )
    card = card_of(made.version)
    assert card["steps"] == 0 and card["loss_before"] is None and card["loss_after"] is None


def test_a_missing_vgg_file_is_named_with_its_flag_before_images_are_read(vgg_run, tmp_path):
    with pytest.raises(InputError, match=r"machine/vggface\.h5.*--vggface_weights"):
        workflow.make_person(vgg_run, "ann", [tmp_path / "gone.png"], tmp_path / "models")


def test_a_vgg_run_is_personalised_elsewhere_with_the_file_of_a_flag(
    vgg_run, photo, tmp_path, monkeypatch
):
    asked = []
    network = types.SimpleNamespace(image_size=32, activations=lambda images: [images / 255])
    monkeypatch.setattr(perceptual, "vggface", lambda path: asked.append(path) or network)
    file = tmp_path / "here.npz"
    file.write_bytes(b"")
    made = workflow.make_person(
        vgg_run,
        "ann",
        [photo],
        tmp_path / "models",
        mode="vector",
        vggface_weights=str(file),
        progress=False,
    )
    assert asked == [str(file)]
    assert made.avatar.config.losses.vggface_weights == str(file)
    card = card_of(made.version)
    assert card["loss_after"] > 0 and str(tmp_path) not in json.dumps(card)
