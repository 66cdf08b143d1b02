"""Face vectors against dlib's own, centred cosine, distance and rank."""

import numpy as np
import pytest

from tests.dlib_reference import detection, fractions, portrait_variants, recogniser
from tf_talkinghead.faces import recognition


def test_vectors_equal_dlibs(portrait):
    images = list(portrait_variants(portrait))[:2]
    for image in images:
        found = detection(image)
        ours = recognition.face_vectors(image[None], fractions(found, image)[None])
        theirs = np.array(recogniser().compute_face_descriptor(image, found))
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours[0], theirs, atol=1e-5)


def test_vectors_equal_dlibs_on_real_clips(real_data):
    from tf_talkinghead.data.video import read_video

    for clip in sorted((real_data / "videos").glob("*.mp4"))[:3]:
        image = next(iter(read_video(clip).frames))
        found = detection(image, upsample=0)
        ours = recognition.face_vectors(image[None], fractions(found, image)[None])
        theirs = np.array(recogniser().compute_face_descriptor(image, found))
        np.testing.assert_allclose(ours[0], theirs, atol=1e-5, err_msg=clip.name)


def test_centred_cosine_takes_the_common_part_off():
    mean = np.array([10.0, 0, 0])
    a, b = mean + [0, 1, 0], mean + [0, 0, 1]
    assert recognition.centred_cosine(a, b, mean) == pytest.approx(0)
    assert recognition.centred_cosine(a, mean + [0, 3, 0], mean) == pytest.approx(1)
    assert recognition.centred_cosine(a, b, 0 * mean) > 0.98
    assert recognition.face_distance(a, b) == pytest.approx(2**0.5)


def test_rank_counts_the_people_who_look_more_like_it():
    gallery = np.array([[1.0, 0], [0.8, 0.6], [0, 1]])
    probes = np.array([[1.0, 0.01], [0.6, 0.8], [1, 0]])
    ranks = recognition.rank_of_truth(probes, gallery, truth=0, mean=np.zeros(2))
    assert ranks.tolist() == [1, 3, 1]
    same = np.array([[1.0, 0], [1, 0]])
    assert recognition.rank_of_truth(probes, same, truth=0, mean=np.zeros(2)).tolist() == [
        2,
        2,
        2,
    ]  # a tie is no match


def test_no_faces_give_no_vectors():
    empty = recognition.face_vectors(np.zeros((0, 64, 64, 3), np.uint8), np.zeros((0, 68, 2)))
    assert empty.shape == (0, 128)


def test_the_shipped_mean_is_that_of_a_face():
    mean = recognition.face_mean()
    assert mean.shape == (128,) and np.isfinite(mean).all()
    assert (
        1.2 < np.linalg.norm(mean) < 1.5
    )  # about the length of a vector: most of it is common to all people


def test_the_shipped_mean_separates_people(real_data):
    """Two frames each of some clips: one person near, two far; uncentred all are near."""
    from tf_talkinghead.config import PreparationConfig
    from tf_talkinghead.data.video import read_video
    from tf_talkinghead.faces.crops import face_crops

    pairs = []
    for name in ("lp_d0", "lp_d12", "lp_d19", "tps_driving"):
        found = face_crops(
            list(read_video(real_data / "videos" / f"{name}.mp4", 2).frames),
            256,
            PreparationConfig(),
        )
        pairs.append(recognition.face_vectors(found.images, found.landmarks))
    first, last = np.stack([pair[0] for pair in pairs]), np.stack([pair[-1] for pair in pairs])
    centred = recognition.centred_cosine(first[:, None], last[None])
    raw = recognition.centred_cosine(first[:, None], last[None], 0)
    different = ~np.eye(len(pairs), dtype=bool)
    assert (centred.argmax(1) == np.arange(len(pairs))).all()
    assert np.diag(centred).mean() - centred[different].mean() > 0.5
    assert np.diag(raw).mean() - raw[different].mean() < 0.15
