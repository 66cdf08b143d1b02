"""Whether images are of one person: by hand-made face vectors, and on real faces if installed."""

import collections
import csv
import itertools
import pathlib
import re

import numpy as np
import pytest

from tests.face_footage import write_face
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.crops import face_crops
from tf_talkinghead.personalization import reference_images
from tf_talkinghead.personalization.reference_images import (
    check_one_person,
    person_images,
)

DATA = PreparationConfig()


def _faces(monkeypatch, places):
    """Faces whose vectors lie at these places of a line: distances are differences."""
    vectors = np.zeros((len(places), 128), np.float32)
    vectors[:, 0] = places
    monkeypatch.setattr(reference_images, "face_vectors", lambda images, landmarks: vectors)
    blank = np.zeros((8, 8, 3), np.uint8), np.zeros((68, 2), np.float32)
    return [(pathlib.Path(f"{name}.jpg"), *blank) for name, _ in zip("abcdef", places)]


@pytest.mark.parametrize(
    "places", [[0.0], [0.0, 0.6], [0.0, 0.3, 0.6, 0.9]]
)  # the middle one is within reach of all
def test_faces_close_to_one_of_them_are_one_person(monkeypatch, places):
    check_one_person(_faces(monkeypatch, places))


@pytest.mark.parametrize(
    "places, stranger", [([0.0, 0.1, 0.75], "c"), ([0.0, 0.9, 1.0, 1.1], "a"), ([0.0, 0.65], "b")]
)
def test_the_file_of_another_person_is_named(monkeypatch, places, stranger):
    with pytest.raises(
        InputError, match=f"^{stranger}.jpg and .* look like different people .*below 0.62.*--force"
    ):
        check_one_person(_faces(monkeypatch, places))


def test_force_lets_people_differ(monkeypatch, portrait, tmp_path):
    from PIL import Image

    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.fromarray(portrait).save(path)
    apart = np.eye(2, 128, dtype=np.float32)  # 1.41 from one another
    monkeypatch.setattr(
        reference_images, "face_vectors", lambda images, landmarks: apart[: len(images)]
    )
    with pytest.raises(InputError, match="different people"):
        person_images(paths, None, 64, DATA)
    assert len(person_images(paths, None, 64, DATA, force=True).images) == 2


def test_photos_of_different_sizes_are_compared(portrait, tmp_path):
    """Crops keep their own sizes until the largest is known, also while they are compared."""
    from PIL import Image

    head = Image.fromarray(portrait[0:290, 80:370])
    paths = [tmp_path / "small.png", tmp_path / "large.png"]
    head.save(paths[0])
    head.resize((400, 400)).save(paths[1])
    alone = [person_images([path], None, 64, DATA, largest=512).images for path in paths]
    assert alone[0].shape[1] < alone[1].shape[1]
    assert (
        person_images(paths, None, 64, DATA, largest=512).images.shape[1:3] == alone[1].shape[1:3]
    )


def test_a_film_that_cuts_to_another_person_is_refused_by_its_times(
    monkeypatch, portrait, tmp_path
):
    """Two seconds of a face whose vectors, which are made by hand, change at 1.2 s."""
    write_face(tmp_path / "a.mp4", portrait, 50)

    def vectors(images, landmarks):
        order = [
            int(np.flatnonzero([np.array_equal(image, other) for other in every])[0])
            for image in images
        ]
        return np.eye(2, 128, dtype=np.float32)[[int(place >= 30) for place in order]]

    every = []
    monkeypatch.setattr(
        reference_images,
        "face_vectors",
        lambda images, landmarks: np.ones((len(images), 128), np.float32),
    )
    monkeypatch.setattr(
        reference_images,
        "face_crops",
        lambda *args: every.extend((clip := face_crops(*args)).images) or clip,
    )
    assert len(person_images([tmp_path / "a.mp4"], None, 64, DATA).images) == 8
    monkeypatch.setattr(reference_images, "face_vectors", vectors)
    with pytest.raises(
        InputError, match=r"^.*a.mp4 at \d\.\d s and .*a.mp4 at \d\.\d s look like different people"
    ) as error:
        person_images([tmp_path / "a.mp4"], None, 64, DATA)
    first, second = sorted(float(time) for time in re.findall(r"at (\d\.\d) s", str(error.value)))
    assert first < 1.2 <= second
    assert len(person_images([tmp_path / "a.mp4"], None, 64, DATA, force=True).images) == 8


@pytest.mark.slow
def test_real_photos_of_one_person_pass_and_of_two_are_refused(real_data):
    photos = collections.defaultdict(list)
    with open(real_data / "MANIFEST.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["file"].startswith("photos/"):
                photos[row["person_id"]].append(real_data / row["file"])
    several = [files for _, files in sorted(photos.items()) if len(files) > 1][:6]
    assert len(several) >= 3
    for files in several:
        person_images(files[:3], None, 128, DATA)
    refused = 0
    pairs = list(itertools.combinations(several, 2))
    for one, other in pairs:
        try:
            person_images([*one[:2], other[0]], None, 128, DATA)
        except InputError as error:
            refused += "different people" in str(error)
    assert refused >= 0.9 * len(pairs)
