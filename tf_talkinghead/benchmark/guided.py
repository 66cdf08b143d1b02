"""Benchmark of guided avatars: milliseconds per frame, memory of a loaded person, continuity.

The avatar is exported and loaded as it is served, so the time of a frame includes the choice of
photos, the spline, the drawing and the conversion to uint8: everything but JPEG. Continuity is
measured in a slow turn of the head: the largest change between neighbouring frames, divided by the
same figure for an avatar of one photo. A ratio well above 1 means that a change of photos shows as
a jump. Without data the photos are a portrait, warped to T poses.
"""

import dataclasses
import pathlib
import tempfile
import time

import cv2
import numpy as np
import tensorflow as tf

from tf_talkinghead.benchmark.machine import PeakMemory
from tf_talkinghead.config import EvaluationConfig, replace
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import protocol
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.faces.crops import face_crops
from tf_talkinghead.faces.geometry import neutral_frame, turned
from tf_talkinghead.faces.warping import warp
from tf_talkinghead.personalization.avatar import Avatar, render
from tf_talkinghead.personalization.personalize import personalize
from tf_talkinghead.weights.store import load_trained

OPTIONS = {
    "weights": 'guided weights: "guided" (default) or a run directory',
    "data": "prepared dataset of people for the continuity; default: a portrait",
    "shots": "T, photos of each person; default: 8",
    "repeats": "calls of each timing; default: 200",
    "measure": "speed, continuity or both; default: both",
}
TURN = 15.0  # degrees to each side
_TURN_FRAMES = 151


def run(preset, options):
    """Measures guided avatars, see the module docstring.

    Args:
      preset: not used; the weights say what they are.
      options: as in OPTIONS.

    Returns:
      {figure: number or text}.

    Raises:
      InputError: weights that are not guided, or data without a clip long enough for T photos.
    """
    trained = load_trained(options.get("weights", "guided"))
    if trained.config.model.generator != "guided":
        raise InputError(
            f"--option=weights={options['weights']}: these weights are not guided; give the run "
            "directory of a guided generator, or leave the option out"
        )
    shots, measure = int(options.get("shots", 8)), options.get("measure", "both")
    trained = dataclasses.replace(
        trained, config=replace(trained.config, {"personalize.mode": "feed_forward"})
    )
    figures = {"weights": options.get("weights", "guided"), "photos": float(shots)}
    if measure != "continuity":
        avatar = _avatar(trained, *_portrait(2 * trained.config.model.image_size, shots))
        figures |= _speed(avatar, int(options.get("repeats", 200)))
    if measure != "speed":
        people = _people(options["data"], trained, shots) if "data" in options else None
        people = people or {"portrait": _portrait(trained.config.model.image_size, shots)}
        ratios = [continuity(_avatar(trained, *person)) for person in people.values()]
        figures |= {
            "continuity_people": float(len(ratios)),
            "continuity_median": float(np.median(ratios)),
            "continuity_worst": float(max(ratios)),
        }
    return figures


def continuity(avatar: Avatar) -> float:
    """Ratio of the largest change between frames of a slow turn to the same with one photo.

    The change is the mean absolute difference of neighbouring frames. The head turns from -TURN to
    TURN degrees in 151 frames; the one photo is the most neutral of the avatar's.
    """
    reference = avatar.reference_landmarks
    way = np.float32([turned(reference, yaw=a) for a in np.linspace(-TURN, TURN, _TURN_FRAMES)])
    photos = avatar.photos
    own = [neutral_frame(photos.landmarks)]
    held = photos.chosen(own)
    of_one = dataclasses.replace(avatar, photos=held)
    return float(_largest_change(avatar, way) / _largest_change(of_one, way))


def _largest_change(avatar, landmarks):
    frames = render(avatar, landmarks).astype(np.float32)
    return np.abs(np.diff(frames, axis=0)).mean((1, 2, 3)).max()


def _speed(avatar, repeats):
    """Milliseconds per frame: batches of 1 and 4 at the model's size, of 1 at twice the size."""
    size, figures = avatar.config.model.image_size, {}
    poses = np.float32(scripted_motion(avatar.reference_landmarks, frames=4 * repeats))
    for name, pixels, batch in (
        (f"{size}px", size, 1),
        (f"{size}px_in_fours", size, 4),
        (f"{2 * size}px", 2 * size, 1),
    ):
        config = replace(avatar.config, {"export.size": pixels})
        with tempfile.TemporaryDirectory() as folder:
            sized = dataclasses.replace(avatar, config=config)
            version = export_person(sized, pathlib.Path(folder), "person")
            with PeakMemory() as peak:
                serve = tf.saved_model.load(str(version)).signatures["serving_default"]
                times = []
                for number in range(repeats + 5):
                    first = batch * (number % repeats)
                    rows = tf.constant(poses[first : first + batch])
                    began = time.perf_counter()
                    serve(landmarks=rows)["frames"].numpy()
                    times.append(1e3 * (time.perf_counter() - began) / batch)
        times = np.array(times[5:])  # the first calls plan the graph
        figures[f"{name}_ms_per_frame"] = float(np.median(times))
        figures[f"{name}_best_ms_per_frame"] = float(times.min())
        figures[f"{name}_p95_ms_per_frame"] = float(np.quantile(times, 0.95))
        if batch == 1 and peak.extra_megabytes is not None:
            figures[f"{name}_loaded_person_mb"] = peak.extra_megabytes
    return figures


def _avatar(trained, images, landmarks):
    return personalize(trained, images, landmarks, progress=False)


def _portrait(size, shots):
    """(images uint8 [T, size, size, 3], landmarks [T, 68, 2]): a portrait, warped to T poses."""
    from skimage import data

    from tf_talkinghead.config import PreparationConfig

    face = face_crops([data.astronaut()], size, PreparationConfig())
    image, points = face.images[0], face.landmarks[0]
    poses = scripted_motion(points, frames=max(shots, 2))[:shots]
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.stack([warp(image, points, to) for to in poses]), np.float32(poses)


def _people(data, trained, shots):
    """{person: (images, landmarks)}: the T = `shots` frames that the protocol learns from."""
    found = {}
    config, size = EvaluationConfig(shots=(shots,)), trained.config.model.image_size
    for source in protocol.sources(data, trained.preparation):
        if source.frames == 1:
            continue
        clip = source.load(size, config.max_frames)
        try:
            chosen = protocol.split(len(clip.images), config, source.clip).learn[:shots]
        except InputError:
            continue  # too short for T frames
        found[source.person] = clip.images[chosen], np.float32(clip.landmarks[chosen])
    if not found:
        raise InputError(
            f"--option=data={data}: no clip is long enough for {shots} photos and scored frames; "
            "give longer clips, or a smaller --option=shots"
        )
    return found
