"""Inputs of the killed commands, made once on preset `tiny`: weights, models, records, footage."""

import pathlib

import numpy as np


def make(folder):
    """Fills `folder`: weights/, models/, data/, footage/, photo.png and expected.npz.

    models/ holds the avatars ann and bob (mode vector, one version each), a bank of two versions
    and a models.config. expected.npz holds the pictures that they render, by name.
    """
    from PIL import Image
    from skimage import data

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    portrait = data.astronaut()
    Image.fromarray(portrait).save(folder / "photo.png")
    _models(folder)
    _records(folder / "data")
    _footage(folder / "footage", portrait)


def _models(folder):
    from tests.campaigns.jobs import render_models
    from tests.made_models import make_models

    _, models = make_models(folder)
    frames = {name.rpartition("/")[0]: frame for name, frame in render_models(models).items()}
    np.savez(folder / "expected.npz", **frames)


def _records(folder):
    from tests.test_meta_train import person
    from tests.test_records import make_dataset

    folder.mkdir()
    make_dataset(folder, [[person(name, i) for i, name in enumerate("abcde")]], size=32)


def _footage(folder, portrait):
    from PIL import Image

    from tests.face_footage import write_face

    for seed, name in enumerate(["anna/1.mp4", "anna/2.mp4", "bob/1.mp4"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_face(folder / name, portrait, 4, seed=seed)
    Image.fromarray(portrait).save(folder / "loose.png")
    (folder / "text.mp4").write_text("not a video")
