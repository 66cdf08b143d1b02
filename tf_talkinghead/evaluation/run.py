"""One evaluation from names to report: what `scripts.evaluate` calls.

report = run_evaluation("datasets/held_out", "reports/demo", weights="demo", limit=8)
"""

import dataclasses
import importlib
import pathlib

import numpy as np

from tf_talkinghead.config import DataConfig, EvaluationConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import methods, person, protocol, user_study
from tf_talkinghead.evaluation.fid import InceptionFeatures, cached_inception
from tf_talkinghead.evaluation.report import write_report
from tf_talkinghead.faces import recognition


def run_evaluation(
    data,
    output,
    weights=None,
    mode="all",
    config=EvaluationConfig(),
    people=None,
    limit=None,
    size=None,
    steps=None,
    manifest=None,
    where=None,
    gallery=None,
    face_embedding=None,
    inception="auto",
    allow_trained=False,
    command=None,
):
    """Evaluates `mode`'s methods on the people of `data` and writes `output`; the report as a dict.

    weights: "demo" or a run directory, None for the baselines alone (then `size` in pixels may be given).
    people: names to keep. limit: at most so many. steps: of learning a person, instead of the configuration's.
    gallery: another folder of people for rank-1. face_embedding: "package.module:function" with
    `function(images uint8 [B,H,W,3], landmarks [B,68,2]) -> [B,D]` instead of dlib's network.
    inception: "none", "imagenet" (may download), a weights file, or "auto": Keras's cached file where there is one.
    People the weights were trained on are left out unless `allow_trained`.
    """
    names = methods.choose(mode)
    trained = _load(weights, names, size)
    embed, centre = _embedding(face_embedding)
    features, inception_note = _inception(inception)
    data_config = trained.config.data if trained else DataConfig()
    everybody = protocol.sources(data, data_config, manifest, where)
    known = set(trained.provenance.get("identities") or ()) if trained else set()
    chosen, notes = choose_people(everybody, people, limit, set() if allow_trained else known)
    about = _about(trained, weights, data, command, embed_name=face_embedding) | {
        "protocol": dataclasses.asdict(config),
        "steps": steps,
        "notes": notes,
        "inception": inception_note,
    }
    task = person.Task(
        sources=chosen,
        methods=methods.build(names, trained, config.seed, steps),
        config=config,
        size=trained.config.model.image_size if trained else size or 128,
        output=pathlib.Path(output),
        gallery=protocol.sources(gallery, data_config) if gallery else everybody,
        embed=embed,
        centre=centre,
        inception=features,
        about=about,
    )
    if known and allow_trained:
        about["people_trained_on"] = (
            ", ".join(sorted(known & {source.person for source in chosen})) or "none of these"
        )
    elif trained:
        about["people_trained_on"] = "none of these" if known else "unknown: the weights do not say"
    results = person.evaluate(task)
    report = write_report(
        results, task.output, about | {"size": task.size, "gallery": f"{len(task.gallery)} people"}
    )
    if any(len(result["results"]) > 1 for result in results):
        user_study.make(report, results, task.output, seed=config.seed)
    return report


def choose_people(everybody, people=None, limit=None, trained_on=frozenset()):
    """(sources to evaluate, notes on who was left out); InputError where nobody is left or a name is unknown."""
    notes = []
    if people:
        unknown = sorted(set(people) - {source.person for source in everybody})
        if unknown:
            some = ", ".join(source.person for source in everybody[:8])
            raise InputError(
                f"--people: nobody called {', '.join(unknown)} in the data (it has {some}, ...)"
            )
        everybody = [source for source in everybody if source.person in set(people)]
    taught = [source.person for source in everybody if source.person in trained_on]
    if taught:
        notes.append(f"left out, the weights were trained on them: {', '.join(taught)}")
    chosen = [source for source in everybody if source.person not in trained_on]
    stills = [source.person for source in chosen if source.frames == 1]
    if stills and not people:
        notes.append(f"left out, photos only: {len(stills)} people")
        chosen = [source for source in chosen if source.frames > 1]
    if not chosen:
        raise InputError(
            f"--data: nobody left to evaluate ({'; '.join(notes) or 'no people in it'}); --allow_trained keeps the first"
        )
    return chosen[:limit], notes


def _load(weights, names, size):
    wanted = [name for name in names if name in methods.MODEL_METHODS]
    if not weights:
        if wanted:
            raise InputError(
                f"--mode: {', '.join(wanted)} need weights: give --weights=demo or a run directory"
            )
        return None
    if size:
        raise InputError("--size: the weights say the size; leave it out")
    from tf_talkinghead.weights.store import load_trained

    return load_trained(weights)


def _embedding(name):
    """(function, what to take off its vectors; None for the shipped mean)."""
    if not name:
        return recognition.face_vectors, None
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function), np.float64(0)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--face_embedding={name}: expected package.module:function ({error})"
        ) from error


def _inception(weights):
    if weights == "auto":
        weights = cached_inception() or "none"
    if weights == "none":
        return (
            None,
            "no InceptionV3 weights (--inception=imagenet downloads them, --inception=FILE names them)",
        )
    features = InceptionFeatures(weights)
    return features, f"keras.applications InceptionV3, {weights}"


def _about(trained, weights, data, command, embed_name):
    about = {
        "weights": weights or "none",
        "data": str(data),
        "command": command,
        "embedding": embed_name or "dlib, centred by the shipped mean",
    }
    if trained:
        about |= {
            "step": trained.provenance.get("step"),
            "sha256": trained.provenance.get("sha256"),
        }
        losses = trained.config.losses
        if not embed_name and losses.perceptual == "dlib" and losses.face > 0:
            about["face_network_in_loss"] = f"losses.face = {losses.face:g}"
    return about
