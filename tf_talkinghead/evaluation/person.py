"""The evaluation loop (Sec. 4): every method on the same frames of people never trained on.

    people = evaluate(Task(sources, methods, config, size=128, output="reports/demo"))

writes, after each person, `people/<person>/result.json`, feature vectors and some pictures; an
evaluation that was stopped continues after the last finished person. `report.py` makes the report.
What cannot be measured (too few frames, no face in a result, a wrong size) is listed as a problem
of that person, and the evaluation continues.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import time
from collections.abc import Callable

import numpy as np
import tqdm

from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.evaluation.cross_driving import cross_rows, drivers
from tf_talkinghead.evaluation.protocol import Source, split
from tf_talkinghead.evaluation.results import (
    TRUTH,
    About,
    PersonResult,
    Row,
    method_label,
    person_folder,
)
from tf_talkinghead.evaluation.scoring import Scorer
from tf_talkinghead.evaluation.sheets import save_pictures
from tf_talkinghead.faces import crops, recognition
from tf_talkinghead.faces.geometry import neutral_frame
from tf_talkinghead.files import write_atomically

RESULT_SCHEMA = 2  # stored in `result.json`, beside PersonResult's own fields
# Errors that are listed as problems. An interruption (SIGTERM during fine-tuning) is not among
# them: it ends the evaluation, and that person is evaluated again.
PROBLEMS = (InputError, NoFaceError)


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything an evaluation needs."""

    sources: list[Source]  # the people to evaluate
    methods: dict[str, Callable]  # of methods.build
    config: EvaluationConfig
    size: int  # pixels of the frames compared
    output: pathlib.Path
    # The people among whom rank-1 identification chooses.
    gallery: list[Source] = dataclasses.field(default_factory=list)
    embed: Callable = recognition.face_vectors  # (images, landmarks) -> [B,D]; what CSIM compares
    centre: np.ndarray | None = None  # subtracted from the vectors; None: the shipped mean
    inception: Callable | None = None  # images -> [B,2048], for FID and KID
    lpips: Callable | None = None  # (true frames, results) -> [B]
    about: About = dataclasses.field(default_factory=About)


def evaluate(task, landmark_model=None):
    """Evaluates every person not done yet.

    Args:
      task: a Task.
      landmark_model: finds the landmarks of rendered frames; dlib's by default.

    Returns:
      list of PersonResult, in the order of `task.sources`.
    """
    model = landmark_model or crops.default_landmarks()
    gallery = functools.cache(lambda: _gallery(task))
    people = []
    bar = tqdm.tqdm(task.sources, desc="people", unit="person", dynamic_ncols=True)
    for number, source in enumerate(bar):
        bar.set_postfix_str(source.person)
        path = person_folder(task.output, source.person) / "result.json"
        key = _key(task, source)
        result = _finished(path, key)
        if result is None:
            others = [*task.sources[number + 1 :], *task.sources[:number]]
            result = _evaluate_person(task, source, others, gallery, model)
            tree = {"schema": RESULT_SCHEMA, "key": key, **result.to_json()}
            text = json.dumps(tree, indent=1, allow_nan=False) + "\n"
            write_atomically(path, text.encode())
        people.append(result)
    return people


def _evaluate_person(task, source, others, gallery, model):
    """The PersonResult of one person by all methods and T; writes their pictures and features."""
    started = time.time()
    result = PersonResult(person=source.person, clip=source.clip)
    try:
        clip = source.load(task.size, task.config.max_frames)
        chosen = split(len(clip.images), task.config, source.clip)
    except PROBLEMS as error:
        result.problems.append(str(error))
        return result
    result.frames = len(clip.images)
    result.learn, result.holdout, result.shots = chosen.learn, chosen.holdout, chosen.shots
    for T in sorted(set(task.config.shots) - set(chosen.shots)):
        result.problems.append(f"T = {T}: too few frames ({len(clip.images)})")
    scorer = Scorer(task, clip, chosen, model, _others(gallery(), source, task))
    result.results.append(Row(person=source.person, T=None, method=TRUTH, **scorer.true_frames()))
    cross = task.config.cross_shots in chosen.shots
    driven_by = drivers(others, task.size, task.config) if cross else []
    frames, features = {TRUTH: scorer.truth}, {"real": scorer.vectors}
    for T in chosen.shots:
        for name, method in task.methods.items():
            label = method_label(name, T)
            try:
                frames[label], features[label] = _evaluate_method(
                    task, scorer, clip, chosen, name, method, T, driven_by, result
                )
            except PROBLEMS as error:
                result.problems.append(f"{name}, T = {T}: {error}")
    folder = person_folder(task.output, source.person)
    result.pictures, result.worst = save_pictures(
        folder, clip, chosen, frames, task.config.pictures
    )
    np.savez_compressed(folder / "features.npz", **features, **_inception(task, frames))
    result.seconds = round(time.time() - started, 1)
    return result


def _evaluate_method(task, scorer, clip, chosen, name, method, T, driven_by, result):
    """(frames, face vectors) of one method at one T; its rows are added to `result`."""
    learn = chosen.learn[:T]
    started = time.time()
    renderer = method(clip.images[learn], clip.landmarks[learn])
    seconds = round(time.time() - started, 2)
    rendered = renderer(scorer.driving)
    figures, per_frame_ssim, vectors = scorer.driven_by_themselves(rendered)
    of_row = {"person": result.person, "T": T, "method": name}
    row = Row(**of_row, **figures, per_frame_ssim=per_frame_ssim, learn_seconds=seconds)
    if row.faces_found == 0:
        result.problems.append(f"{name}, T = {T}: no face found in any result")
    rows = [row]
    if T == task.config.cross_shots:
        reference = clip.landmarks[learn][neutral_frame(clip.landmarks[learn])]
        rows += cross_rows(renderer, scorer, reference, driven_by, **of_row)
    if renderer.history:
        result.history[row.label] = renderer.history
    result.results += rows
    return rendered, vectors


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
    """Vectors of the other people [P,D]; None where they are too few for rank-1."""
    others = [vector for person, vector in gallery.items() if person != source.person]
    return np.stack(others) if len(others) >= task.config.gallery_people else None


def _inception(task, frames):
    """{name in `features.npz`: InceptionV3's features} of the frames of each label."""
    if task.inception is None:
        return {}
    named = {"real" if label == TRUTH else label: images for label, images in frames.items()}
    return {f"inception_{name}": task.inception(images) for name, images in named.items()}


def _key(task, source):
    """Digest of everything a finished result depends on."""
    parts = {
        "config": dataclasses.asdict(task.config),
        "methods": list(task.methods),
        "size": task.size,
        "clip": source.clip,
        "weights": task.about.sha256,
        "steps": task.about.steps,
        "embedding": task.about.embedding,
        "inception": task.inception is not None,
        "lpips": task.about.lpips,
        "gallery": sorted(person.person for person in task.gallery),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _finished(path, key):
    """The PersonResult at `path` if it is whole and made with the same settings, else None."""
    try:
        tree = json.loads(path.read_text("utf-8"))
        if tree["key"] != key or tree["schema"] != RESULT_SCHEMA:
            return None
        return PersonResult.from_json(tree)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None
