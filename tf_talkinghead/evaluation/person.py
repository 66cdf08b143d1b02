"""The paper's evaluation (Sec. 4): every method on the same frames of people never trained on, one person at a time.

    evaluate(Task(sources, methods, config, size=128, output="reports/demo"))

writes, for each person as soon as it is done, `people/<person>/result.json`, its feature vectors and some
pictures; a run that was stopped goes on after the last finished person. `report.py` makes the report of them.
Results that cannot be had (too few frames, no face in a result, a wrong size) are listed as problems of
that person, and the rest goes on.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable

import numpy as np
import tqdm

from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.evaluation.cross_driving import cross_rows, drivers
from tf_talkinghead.evaluation.protocol import Source, split
from tf_talkinghead.evaluation.scoring import Judge
from tf_talkinghead.evaluation.sheets import person_folder, save_pictures
from tf_talkinghead.faces import crops, recognition
from tf_talkinghead.faces.geometry import neutral_frame

RESULT_SCHEMA = 2
# What is listed and passed over. An interruption (SIGTERM while a person is learned) is none: that person is not done.
PROBLEMS = (InputError, NoFaceError)


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything one evaluation is about."""

    sources: list[Source]  # the people to evaluate
    methods: dict[str, Callable]  # of methods.build
    config: EvaluationConfig
    size: int  # pixels of the frames compared
    output: pathlib.Path
    gallery: list[Source] = dataclasses.field(
        default_factory=list
    )  # whom rank-1 identification picks from
    embed: Callable = recognition.face_vectors  # (images, landmarks) -> [B,D]; what CSIM compares
    centre: np.ndarray | None = None  # taken off the vectors; None: the shipped mean
    inception: Callable | None = None  # images -> [B,2048], for FID and KID
    about: dict = dataclasses.field(default_factory=dict)  # of the weights; goes into the report


def evaluate(task, landmark_model=None):
    """Evaluates every person not done yet; the results of all, a list of dicts as in `result.json`."""
    model = landmark_model or crops.default_landmarks()
    gallery = functools.cache(lambda: _gallery(task))
    results = []
    bar = tqdm.tqdm(task.sources, desc="people", unit="person", dynamic_ncols=True)
    for number, source in enumerate(bar):
        bar.set_postfix_str(source.person)
        folder = person_folder(task.output, source.person)
        key = _key(task, source)
        result = _finished(folder, key)
        if result is None:
            others = [*task.sources[number + 1 :], *task.sources[:number]]
            result = {
                "schema": RESULT_SCHEMA,
                "key": key,
                **_evaluate_person(task, source, others, gallery, model, folder),
            }
            _write_json(folder / "result.json", result)
        results.append(result)
    return results


def _evaluate_person(task, source, others, gallery, model, folder):
    """One person by all methods and T; {"person", "clip", "learn", "judge", "results", "problems", ...}."""
    started = time.time()
    result = {
        "person": source.person,
        "clip": source.clip,
        "results": [],
        "problems": [],
        "history": {},
    }
    try:
        clip = source.load(task.size, task.config.max_frames)
        chosen = split(len(clip.images), task.config, source.clip)
    except PROBLEMS as error:
        return result | {"problems": [str(error)], "seconds": time.time() - started}
    result |= {
        "frames": len(clip.images),
        "learn": chosen.learn,
        "judge": chosen.judge,
        "shots": chosen.shots,
    }
    for T in sorted(set(task.config.shots) - set(chosen.shots)):
        result["problems"].append(f"T = {T}: too few frames ({len(clip.images)})")
    judge = Judge(task, clip, chosen, model, _others(gallery(), source, task))
    vectors = {"real": judge.vectors}
    frames = {("truth", 0): judge.truth}
    result["results"].append(
        {"person": source.person, "T": None, "method": "truth", "protocol": "self", **judge.floor()}
    )
    cross = (
        drivers(others, task.size, task.config) if task.config.cross_shots in chosen.shots else []
    )
    for T in chosen.shots:
        for name, method in task.methods.items():
            label = f"{name}, T = {T}"
            try:
                row, vectors[f"{name}_{T}"], frames[name, T], history = _one(
                    task, judge, clip, chosen, method, T, cross, result, name
                )
            except PROBLEMS as error:
                result["problems"].append(f"{label}: {error}")
                continue
            if history:
                result["history"][f"{name}_{T}"] = history
            result["results"].append(
                {"person": source.person, "T": T, "method": name, "protocol": "self", **row}
            )
    result |= save_pictures(folder, clip, chosen, frames, task.config.pictures)
    features = vectors | _inception(task, frames)
    np.savez_compressed(folder / "features.npz", **features)
    return result | {"seconds": round(time.time() - started, 1)}


def _one(task, judge, clip, chosen, method, T, cross, result, name):
    """One method at one T: (row, face vectors, frames, history); the cross-person rows go into `result`."""
    learn = chosen.learn[:T]
    started = time.time()
    renderer = method(clip.images[learn], clip.landmarks[learn])
    learning = time.time() - started
    rendered = renderer(judge.driving)
    row, vectors = judge.row(rendered)
    row["learn_seconds"] = round(learning, 2)
    if row["faces_found"] == 0:
        result["problems"].append(f"{name}, T = {T}: no face found in any result")
    if T == task.config.cross_shots:
        reference = clip.landmarks[learn][neutral_frame(clip.landmarks[learn])]
        crossed = cross_rows(renderer, judge, reference, cross)
        result["results"] += [
            {"person": result["person"], "T": T, "method": name, **one} for one in crossed
        ]
    return row, vectors, rendered, renderer.history


def _gallery(task):
    """{person: mean face vector} of the gallery; people without a face are left out."""
    vectors = {}
    for source in tqdm.tqdm(task.gallery, desc="gallery", unit="person", leave=False):
        try:
            clip = source.few(task.size, 4)
        except PROBLEMS:
            continue
        vectors[source.person] = task.embed(clip.images, clip.landmarks).mean(0)
    return vectors


def _others(gallery, source, task):
    """The other people's vectors [P,D], or None where they are too few for rank-1 to mean anything."""
    others = [vector for person, vector in gallery.items() if person != source.person]
    return np.stack(others) if len(others) >= task.config.gallery_people else None


def _inception(task, frames):
    if task.inception is None:
        return {}
    named = {
        "real" if name == "truth" else f"{name}_{T}": images for (name, T), images in frames.items()
    }
    return {f"inception_{name}": task.inception(images) for name, images in named.items()}


def _key(task, source):
    """What a finished result must have been made with to be kept."""
    parts = {
        "config": dataclasses.asdict(task.config),
        "methods": list(task.methods),
        "size": task.size,
        "clip": source.clip,
        "weights": task.about.get("sha256"),
        "steps": task.about.get("steps"),
        "embedding": task.about.get("embedding"),
        "inception": task.inception is not None,
        "gallery": sorted(person.person for person in task.gallery),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _finished(folder, key):
    try:
        result = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return None
    return result if result.get("key") == key and result.get("schema") == RESULT_SCHEMA else None


def _write_json(path, tree):
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n")
    os.replace(beside, path)
