"""One run of meta-learning: dataset in, run directory out, resumable at any time.

<run>/config.json          the resolved configuration; later steps read it
      run.json             dataset, people held out, people trained on
      checkpoints/         training/checkpoints.py
      events/, grids/      training/summaries.py
"""

import dataclasses
import itertools
import json
import os
import pathlib
import random
import sys

import numpy as np
import tensorflow as tf

from tf_talkinghead.config import Config, from_json, to_json
from tf_talkinghead.data.dataset import load_dataset
from tf_talkinghead.data.episodes import check, episodes
from tf_talkinghead.errors import InputError
from tf_talkinghead.training import validation
from tf_talkinghead.training.checkpoints import Checkpoints, restore, snapshot
from tf_talkinghead.training.distribution import (
    check_batch,
    distribute,
    is_chief,
    make_agreement,
    make_strategy,
    workers,
)
from tf_talkinghead.training.loop import Loop
from tf_talkinghead.training.meta_learning import W_STATE, MetaLearner
from tf_talkinghead.training.summaries import Summaries

# What may differ when a run directory is resumed: how long, and how often it is looked at.
_MAY_CHANGE = {
    "steps",
    "checkpoint_every",
    "keep_checkpoints",
    "summary_every",
    "evaluate_every",
    "holdout_episodes",
    "rate_decay",
}


def meta_train(
    config: Config,
    data,
    run_dir,
    *,
    holdout=None,
    deterministic=False,
    logical_replicas=0,
    initial=None,
    progress=True,
):
    """Trains to `config.meta.steps`, resuming from what `run_dir` holds.

    Args:
      data: folder of prepare_dataset.
      holdout: names of people kept out, or None for `config.meta.holdout_people` people chosen by the seed.
      deterministic: bit-for-bit repeatable (same machine, same threads, CPU, float32).
      logical_replicas: as `make_strategy`.
      initial: `weights.store.Trained` whose E, G, V, w_0 and b a new run starts from; W starts anew.

    Returns the loop's `Result`. Raises InputError and ConfigError for what the user can mend.
    """
    run_dir = pathlib.Path(run_dir)
    dataset = load_dataset(data)
    check(dataset, config.model.image_size)
    check_resumable(config, run_dir)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(config.meta.seed)
    strategy = make_strategy(logical_replicas)
    check_batch(strategy, config.meta.batch_size, config.meta.micro_batches)
    chief = is_chief(strategy)
    kept_out = held_out_people(dataset, config, run_dir, holdout)
    learner = MetaLearner(config, len(dataset.videos), strategy)
    state = learner.state()
    checkpoints = Checkpoints(run_dir / "checkpoints", config.meta.keep_checkpoints)
    arrays, manifest = checkpoints.load_newest(repair=chief)
    start = manifest["step"] if manifest else 0
    if arrays:
        restore(state, arrays, growing=W_STATE)
    elif initial is not None:
        start_from(learner, initial)
    if chief:
        _write(run_dir / "config.json", to_json(config))
        people = sorted(set(dataset.identities) - set(kept_out))
        _write(
            run_dir / "run.json",
            json.dumps({"data": str(data), "held_out": kept_out, "identities": people}, indent=1)
            + "\n",
        )
    if start >= config.meta.steps:
        print(
            f"{run_dir} is at step {start} already; give a larger --steps to go on", file=sys.stderr
        )

    summaries = Summaries(run_dir if chief else None)
    summaries.text("config", to_json(config))

    def judge(step, scores):
        if chief and scores and validation.better(scores, checkpoints.best()[1]):
            checkpoints.mark_best(step, scores)

    def save(step, scores):
        if not chief:
            return checkpoints.path(step)
        path = checkpoints.save(step, snapshot(state), scores)
        judge(step, scores)
        checkpoints.prune()
        return path

    if manifest:  # a kill may have come between saving and judging
        judge(start, manifest["scores"])

    count, worker = workers(strategy)
    shards = {"num_workers": count, "worker": worker}
    batches = episodes(
        data,
        config,
        config.meta.batch_size // count,
        config.meta.seed,
        start,
        exclude=kept_out,
        **shards,
    ).map(without_names)
    looked_at = {"training": _looked_at(data, config, 8, exclude=kept_out)}
    if kept_out:
        looked_at["held_out"] = _looked_at(
            data, config, config.meta.holdout_episodes, identities=kept_out
        )
    return Loop(
        step=learner.step,
        batches=distribute(strategy, batches),
        steps=config.meta.steps,
        start=start,
        save=save,
        checkpoint_every=config.meta.checkpoint_every,
        evaluate=validation.HeldOut(learner, looked_at, validation.score, summaries),
        evaluate_every=config.meta.evaluate_every,
        summarise=lambda step, values: summaries.scalars(step, {**values, **learner.rates()}),
        summary_every=config.meta.summary_every,
        agree=make_agreement(strategy),
        last_good=str(checkpoints.path(start)) if start else "none",
        description=f"meta {config.preset}",
        progress=progress and chief,
    ).run()


def check_resumable(config, run_dir):
    """InputError where `run_dir` holds a run of another configuration, naming a field and both values."""
    path = pathlib.Path(run_dir) / "config.json"
    if not path.is_file():
        return
    stored = _flat(dataclasses.asdict(from_json(path.read_text())))
    for name, value in _flat(dataclasses.asdict(config)).items():
        section, _, field = name.partition(".")
        resumable = section in ("personalize", "export") or (
            section == "meta" and field in _MAY_CHANGE
        )
        if not resumable and stored[name] != value:
            raise InputError(
                f"{run_dir} holds a run with {name} = {stored[name]!r}, this one has {value!r}; give another --run_dir"
            )


def held_out_people(dataset, config, run_dir, holdout):
    """Sorted names of the people kept out; a resumed run keeps those of its run.json."""
    path = pathlib.Path(run_dir) / "run.json"
    stored = json.loads(path.read_text())["held_out"] if path.is_file() else None
    if holdout is None:
        names = dataset.identities
        if config.meta.holdout_people >= len(names):
            raise InputError(
                f"--holdout_people={config.meta.holdout_people} leaves nobody to train on: {dataset.folder} has {len(names)} people"
            )
        holdout = stored or random.Random(config.meta.seed).sample(
            names, config.meta.holdout_people
        )
    holdout = sorted(holdout)
    unknown = set(holdout) - set(dataset.identities)
    if unknown:
        raise InputError(f"--holdout_people: {dataset.folder} has no {sorted(unknown)[0]!r}")
    if stored is not None and holdout != stored:
        raise InputError(
            f"{run_dir} holds out {', '.join(stored)}, this run asks for {', '.join(holdout)}; give another --run_dir"
        )
    return holdout


def start_from(learner, trained):
    """E, G, V, w_0 and b of trained weights as the start of a new run, the averages with them."""
    if trained.config.model != learner.config.model:
        raise InputError(
            f"--init_from: weights of another network (preset {trained.config.preset}) than this run (preset {learner.config.preset})"
        )
    for network in (learner.embedder, learner.averaged_embedder):
        network.set_weights(trained.embedder.get_weights())
    for network in (learner.generator, learner.averaged_generator):
        network.set_weights(trained.generator.get_weights())
    learner.discriminator.V.set_weights(trained.V.get_weights())
    learner.discriminator.w_0.assign(trained.w_0)
    learner.discriminator.b.assign(trained.b)


def without_names(batch):
    """A batch without its strings, which no device takes."""
    return {name: value for name, value in batch.items() if name != "identity"}


def _looked_at(data, config, count, **people):
    """About `count` episodes for evaluation, as a list of batches of numpy arrays, the same in every run."""
    if count <= 0:
        return []
    size = min(8, count)
    batches = episodes(data, config, size, config.meta.seed + 1, augment=False, **people)
    return [
        {name: np.asarray(value) for name, value in batch.items()}
        for batch in itertools.islice(batches.as_numpy_iterator(), -(-count // size))
    ]


def _flat(tree, prefix=""):
    found = {}
    for name, value in tree.items():
        found.update(
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {f"{prefix}{name}": value}
        )
    return found


def _write(path, text):
    """Replaces `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    os.replace(beside, path)
