"""Control on real clips and pictures, with the shipped weights: seams of the paste-back, and how
steady and how late rendered faces are. Slow; each prints the figures of its clips.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.config import PreparationConfig, replace
from tf_talkinghead.data.listing import list_clips
from tf_talkinghead.driving.driver import driver_crops, read_driver
from tf_talkinghead.driving.paste_back import kept_ground, open_ground
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.driving.steadiness import jitter, lag
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.faces.crops import default_landmarks
from tf_talkinghead.faces.motion import find_landmarks
from tf_talkinghead.personalization.avatar import render
from tf_talkinghead.personalization.ground import keep_ground
from tf_talkinghead.personalization.personalize import personalize
from tf_talkinghead.personalization.photos import LARGEST
from tf_talkinghead.personalization.reference_images import person_images
from tf_talkinghead.weights.store import load_trained

pytestmark = pytest.mark.slow

# Paintings and photos with some ground around the head.
PICTURES = (
    *(f"paintings/lp_im_{name}.jpg" for name in ("s0", "s3", "s4", "s5", "s8", "s9")),
    *(f"paintings/sad_art_{number}.png" for number in (10, 13)),
    "hallo_3",
    "p4d_gettyimages",
)
FRAMES = 120  # of each clip


@pytest.fixture(scope="module")
def trained():
    return load_trained("guided")


def picture_of(real_data, name):
    """The file of a name of PICTURES: a path, or how a photo of the manifest is called."""
    path = real_data / name
    return path if path.is_file() else next((real_data / "photos").glob(f"{name}.*"))


def test_no_seam_shows_around_pasted_heads(real_data, trained, tmp_path):
    """The gradient in the blend's band, over that of the untouched picture there: at most 1.1."""
    worst = {}
    for name in PICTURES:
        found = person_images(
            [picture_of(real_data, name)], None, 256, trained.preparation, largest=LARGEST
        )
        work = tmp_path / name.replace("/", "_")
        work.mkdir()
        crop = keep_ground(found, 0, work)
        ground = open_ground(kept_ground([work]), crop)
        avatar = personalize(trained, found.images, found.landmarks, progress=False)
        poses = np.float32(scripted_motion(avatar.reference_landmarks, frames=16))
        for size in (256, 512):
            sized = replace(avatar.config, {"export.size": size})
            version = export_person(dataclasses.replace(avatar, config=sized), work, str(size))
            serve = tf.saved_model.load(str(version)).signatures["serving_default"]
            frames = serve(landmarks=tf.constant(poses))["frames"].numpy()
            seams = [ground.seam_sharpness(ground.pasted(frame)) for frame in frames]
            worst[name, size] = max(seams)
            print(f"{name} at {size} px: seam {np.mean(seams):.2f}, worst frame {max(seams):.2f}")
    assert max(worst.values()) <= 1.1


def test_rendered_faces_are_as_steady_as_the_true_ones_and_not_late(real_data, trained):
    """Clips of the report people, each driving its own avatar of 8 frames from its beginning."""
    left = {}
    listed, _ = list_clips(real_data, real_data / "MANIFEST.csv", "split=report")
    films = {clip.identity: clip.name for clip in listed if clip.name.endswith(".mp4")}
    for person, name in sorted(films.items()):
        path = real_data / name
        motion = read_driver(path, PreparationConfig(), progress=False)
        crops = np.stack([crop for _, crop in zip(range(FRAMES), driver_crops(motion, 256))])
        count = len(crops)
        known = np.linspace(0, count // 3, 8).astype(int)
        avatar = personalize(trained, crops[known], motion.landmarks[known], progress=False)
        shown = slice(count // 3, count)
        model = default_landmarks()
        truth = find_landmarks(crops[shown], model)
        found = find_landmarks(render(avatar, motion.landmarks[shown]), model)
        both = np.isfinite(truth).all((1, 2)) & np.isfinite(found).all((1, 2))
        left[person] = jitter(found[both]) / jitter(truth[both])
        late = lag(truth[both], found[both])
        print(f"{person}: jitter {left[person]:.2f} of the true frames', lag {late:.2f} frames")
        assert not abs(late) >= 1.0  # NaN: a face that hardly moves
    print(f"mean {np.mean(list(left.values())):.2f} of {len(left)} people")
    assert np.mean(list(left.values())) <= 1.1
