"""A complete evaluation, from data and weights to the report; called by `scripts.evaluate`.

report = run_evaluation("datasets/held_out", "reports/demo", weights="demo", limit=8)
"""

import dataclasses
import importlib
import json
import pathlib

import numpy as np

from tf_talkinghead.config import EvaluationConfig, PreparationConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import methods, person, protocol, user_study
from tf_talkinghead.evaluation.fid import InceptionFeatures, cached_inception
from tf_talkinghead.evaluation.lpips import Lpips
from tf_talkinghead.evaluation.report import write_report
from tf_talkinghead.evaluation.results import About
from tf_talkinghead.faces import recognition
from tf_talkinghead.personalization.settings import resolve

GROUPS = ("choose", "report")  # keys of people.json: to choose settings on, and to report
_GROUPS_FILE = pathlib.Path(__file__).parent / "people.json"
DEFAULT_SIZE = 128  # pixels, where no weights determine the size


def run_evaluation(
    data,
    output,
    weights=None,
    mode="all",
    config=None,
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
    vgg19_weights=None,
    vggface_weights=None,
    direct_weights=None,
    lpips=None,
):
    """Evaluates methods on the people of `data` and writes the report into `output`.

    Args:
      data: folder of a prepared dataset, or of videos.
      output: folder of the report; finished people in it are kept.
      weights: "guided", "demo" or a run directory; None for the baselines alone.
      mode: "all" or a comma-separated list of methods.
      config: EvaluationConfig; by default its defaults.
      people: names to keep, or "choose" or "report", the groups of people.json; all by default.
      limit: at most so many of them.
      size: side of the frames in pixels, only without weights; 128 by default.
      steps: of fine-tuning; the configuration's by default.
      manifest, where: choose among videos, as in `listing.list_clips`.
      gallery: folder of other people for rank-1; `data` by default.
      face_embedding: "package.module:function" in place of dlib's network, a function
        `(images uint8 [B,H,W,3], landmarks [B,68,2]) -> [B,D]`.
      inception: "none", "imagenet" (may download), a weights file, or "auto": Keras's cached file
        where there is one.
      allow_trained: whether people that the weights were trained on are evaluated too.
      command: the command line, written into the report.
      vgg19_weights, vggface_weights: files of the content loss, where the paths stored in the run
        do not exist on this machine.
      direct_weights: weights of the method "direct", like `weights`.
      lpips: file of an LPIPS network, see `lpips.py`; without it LPIPS is left out.

    Returns:
      The Report.

    Raises:
      InputError: an argument that cannot be used, or nobody left to evaluate.
    """
    config = config or EvaluationConfig()
    names = methods.choose(mode)
    trained = _load(weights, names, size, vgg19_weights, vggface_weights)
    embed, centre = _embedding(face_embedding)
    features, inception_note = _inception(inception)
    data_config = trained.preparation if trained else PreparationConfig()
    everybody = protocol.sources(data, data_config, manifest, where)
    direct = _load(direct_weights, (), None, vgg19_weights, vggface_weights)
    if direct and not trained:
        raise InputError("--direct_weights are compared with --weights: give --weights too")
    known = set()
    for weights_used in filter(None, (trained, direct)):
        known |= set(weights_used.provenance.get("identities") or ())
    chosen, notes = choose_people(everybody, people, limit, set() if allow_trained else known)
    size = trained.config.model.image_size if trained else size or DEFAULT_SIZE
    others = protocol.sources(gallery, data_config) if gallery else everybody
    about = About(
        weights=str(weights or "none"),
        data=str(data),
        command=command,
        embedding=face_embedding or "dlib, centred by the shipped mean",
        inception=inception_note,
        lpips=lpips,
        gallery=f"{len(others)} people",
        size=size,
        steps=steps,
        protocol=config,
        notes=notes,
        **(_about_weights(trained, chosen, known, not face_embedding) if trained else {}),
    )
    task = person.Task(
        sources=chosen,
        methods=methods.build(names, trained, config.seed, steps, direct),
        config=config,
        size=size,
        output=pathlib.Path(output),
        gallery=others,
        embed=embed,
        centre=centre,
        inception=features,
        lpips=Lpips(lpips) if lpips else None,
        about=about,
    )
    results = person.evaluate(task)
    report = write_report(results, task.output, about)
    user_study.make(report, task.output, seed=config.seed)
    return report


def choose_people(everybody, people=None, limit=None, trained_on=frozenset()):
    """Chooses the people to evaluate.

    Args:
      everybody: list of Source.
      people: names to keep, or one of GROUPS; all by default.
      limit: at most so many.
      trained_on: names to leave out.

    Returns:
      (sources to evaluate, notes on who was left out).

    Raises:
      InputError: nobody is left, or a name is unknown.
    """
    notes = []
    if people and len(people) == 1 and people[0] in GROUPS:
        people = group(people[0])
    if people:
        unknown = sorted(set(people) - {source.person for source in everybody})
        if unknown:
            some = ", ".join(source.person for source in everybody[:8])
            raise InputError(
                f"--people: nobody called {', '.join(unknown)} in the data (it has {some}, ...)"
            )
        everybody = [source for source in everybody if source.person in set(people)]
    trained = [source.person for source in everybody if source.person in trained_on]
    if trained:
        notes.append(f"left out, the weights were trained on them: {', '.join(trained)}")
    chosen = [source for source in everybody if source.person not in trained_on]
    stills = [source.person for source in chosen if source.frames == 1]
    if stills and not people:
        notes.append(f"left out, photos only: {len(stills)} people")
        chosen = [source for source in chosen if source.frames > 1]
    if not chosen:
        raise InputError(
            f"--data: nobody left to evaluate ({'; '.join(notes) or 'no people in it'}); "
            "--allow_trained keeps people that the weights were trained on"
        )
    return chosen[:limit], notes


def group(name):
    """The person ids of one of GROUPS."""
    return json.loads(_GROUPS_FILE.read_text())[name]


def _load(weights, names, size, vgg19_weights, vggface_weights):
    wanted = [name for name in names if name in methods.MODEL_METHODS]
    if not weights:
        if wanted:
            raise InputError(
                f"--mode: {', '.join(wanted)} need weights: give --weights=demo or a run directory"
            )
        return None
    if size:
        raise InputError("--size: the weights determine the size; leave --size out")
    from tf_talkinghead.training.content_loss import check_weight_files
    from tf_talkinghead.weights.store import load_trained

    trained = load_trained(weights)
    files = {"vgg19_weights": vgg19_weights, "vggface_weights": vggface_weights}
    config = resolve(trained.config, **files)
    if set(wanted) - {"feed_forward"}:
        check_weight_files(config.losses)
    return dataclasses.replace(trained, config=config)


def _embedding(name):
    """(function, mean to subtract from its vectors; None for the shipped mean)."""
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
        note = "--inception=imagenet downloads them, --inception=FILE names them"
        return None, f"no InceptionV3 weights ({note})"
    features = InceptionFeatures(weights)
    return features, f"keras.applications InceptionV3, {weights}"


def _about_weights(trained, chosen, known, by_dlib):
    """Fields of About that describe the weights."""
    if known:
        both = sorted(known & {source.person for source in chosen})
        trained_on = ", ".join(both) or "none of these"
    else:
        trained_on = "unknown: the weights do not say"
    losses = trained.config.losses
    flattered = by_dlib and losses.perceptual == "dlib" and losses.face > 0
    return {
        "step": trained.provenance.get("step"),
        "sha256": trained.provenance.get("sha256"),
        "people_trained_on": trained_on,
        "face_network_in_loss": f"losses.face = {losses.face:g}" if flattered else None,
    }
