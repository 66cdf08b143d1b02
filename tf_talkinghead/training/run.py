"""One run of meta-learning, from a dataset to a run directory; it can be resumed at any time.

<run>/config.json          the resolved configuration; later steps read it
      run.json             dataset and its preparation, people held out, people trained on
      checkpoints/         training/checkpoints.py
      events/, grids/      training/summaries.py
"""

import itertools
import json
import pathlib
import re
import sys

import numpy as np
import tensorflow as tf

from tf_talkinghead.config import Config, to_json
from tf_talkinghead.data.dataset import load_dataset
from tf_talkinghead.data.episodes import Schedule, check, episodes
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import write_atomically
from tf_talkinghead.models.growing import grows_into, take_weights
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
from tf_talkinghead.training.match_rows import first_new_row, start_rows
from tf_talkinghead.training.meta_learning import W_STATE, MetaLearner
from tf_talkinghead.training.run_settings import check_resumable, held_out_people, with_steps
from tf_talkinghead.training.summaries import Summaries


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
    """Trains to `config.meta.steps` (or epochs); resumes the run in `run_dir`, if there is one.

    Args:
      config: Config; where `meta.steps` is 0, `meta.epochs` gives the number of steps
        (run_settings.with_steps).
      data: folder of a dataset made by prepare_dataset.
      run_dir: folder of the run.
      holdout: names of people kept out of training; None: `config.meta.holdout_people` people
        chosen by the seed.
      deterministic: whether the run is repeatable bit for bit (same machine, same threads, CPU,
        float32).
      logical_replicas: as in `make_strategy`.
      initial: `weights.store.Trained` from which a new run takes E, G, V, w_0 and b, but not W.
      progress: whether a progress bar is shown.

    Returns:
      The loop's `Result`.

    Raises:
      InputError, ConfigError: an error that the user can correct.
    """
    run_dir = pathlib.Path(run_dir)
    dataset = load_dataset(data)
    check(dataset, config.model.image_size)
    check_resumable(config, run_dir)
    kept_out = held_out_people(dataset, config, run_dir, holdout)
    schedule = Schedule(dataset, config.meta.shots, config.meta.seed, config.data, exclude=kept_out)
    config = with_steps(config, run_dir, len(schedule))
    if deterministic:
        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(config.meta.seed)
    strategy = make_strategy(logical_replicas)
    check_batch(strategy, config.meta.batch_size, config.meta.micro_batches)
    chief = is_chief(strategy)
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
        _write_settings(run_dir, config, dataset, kept_out)
    if start >= config.meta.steps:
        print(
            f"{run_dir} is already at step {start}; give a larger --steps to continue",
            file=sys.stderr,
        )
    summaries = Summaries(run_dir if chief else None)
    summaries.text("config", to_json(config))

    def mark_if_best(step, scores):
        if chief and scores and validation.better(scores, checkpoints.best()[1]):
            checkpoints.mark_best(step, scores)

    def save(step, scores):
        if not chief:
            return checkpoints.path(step)
        path = checkpoints.save(step, snapshot(state), scores)
        mark_if_best(step, scores)
        checkpoints.prune()
        return path

    # The process may have been killed between saving a snapshot and marking it as best.
    if manifest:
        mark_if_best(start, manifest["scores"])
    stored_rows = len(arrays["D/W"]) if arrays else 0

    def step(batch, number):
        """Update `number`; rows of W are initialised before the match term acts on them."""
        if config.meta.variant == "ft":
            first = first_new_row(number, start, stored_rows, config.losses.adversarial_start)
            if first is not None and first < len(dataset.videos):
                start_rows(learner, dataset, schedule, first, progress and chief)
        return learner.step(batch, number)

    return Loop(
        step=step,
        batches=refusing(
            distribute(strategy, _training_batches(data, config, strategy, start, kept_out))
        ),
        steps=config.meta.steps,
        start=start,
        save=save,
        checkpoint_every=config.meta.checkpoint_every,
        evaluate=validation.HeldOut(
            learner, _evaluation_batches(data, config, kept_out), validation.score, summaries
        ),
        evaluate_every=config.meta.evaluate_every,
        summarise=lambda step, values: summaries.scalars(step, {**values, **learner.rates()}),
        summary_every=config.meta.summary_every,
        agree=make_agreement(strategy),
        last_good=str(checkpoints.path(start)) if start else "none",
        description=f"meta {config.preset}",
        progress=progress and chief,
    ).run()


def start_from(learner, trained):
    """Starts a new run from trained weights: E, G, V, w_0 and b, and the averages of E and G.

    A guided generator with `model.foreground` may start from one without (models/growing.py).

    Raises:
      InputError: weights of another network.
    """
    if not grows_into(trained.config.model, learner.config.model):
        raise InputError(
            f"--init_from: weights of another network (preset {trained.config.preset}) "
            f"than this run (preset {learner.config.preset}); train with the preset of the weights"
        )
    for network in (learner.embedder, learner.averaged_embedder):
        network.set_weights(trained.embedder.get_weights())
    for network in (learner.generator, learner.averaged_generator):
        take_weights(network, trained.generator)
    learner.discriminator.V.set_weights(trained.V.get_weights())
    learner.discriminator.w_0.assign(trained.w_0)
    learner.discriminator.b.assign(trained.b)


def refusing(batches):
    """Iterates over batches and restores InputErrors raised by Python functions inside tf.data.

    TensorFlow turns such an error into an UnknownError with a traceback in its text.
    """
    try:
        yield from batches
    except tf.errors.OpError as error:
        found = re.search(r"\bInputError: (.*)", error.message)
        if found is None:
            raise
        raise InputError(found[1]) from error


def without_names(batch):
    """A batch without its strings, which cannot be placed on a GPU."""
    return {name: value for name, value in batch.items() if name != "identity"}


def _write_settings(run_dir, config, dataset, kept_out):
    """Writes config.json and run.json, each atomically."""
    facts = {
        "data": str(dataset.folder),
        "preparation": dataset.settings,
        "held_out": kept_out,
        "identities": sorted(set(dataset.identities) - set(kept_out)),
    }
    write_atomically(run_dir / "config.json", to_json(config).encode())
    write_atomically(run_dir / "run.json", (json.dumps(facts, indent=1) + "\n").encode())


def _training_batches(data, config, strategy, start, kept_out):
    """This worker's batches of episodes from step `start` on."""
    count, worker = workers(strategy)
    return episodes(
        data,
        config,
        config.meta.batch_size // count,
        config.meta.seed,
        start,
        exclude=kept_out,
        num_workers=count,
        worker=worker,
    ).map(without_names)


def _evaluation_batches(data, config, kept_out):
    """Batches that evaluations render: of people trained on and, if there are any, held out."""
    batches = {"training": _fixed_batches(data, config, 8, exclude=kept_out)}
    if kept_out:
        count = config.meta.holdout_episodes
        batches["held_out"] = _fixed_batches(data, config, count, identities=kept_out)
    return batches


def _fixed_batches(data, config, count, **people):
    """About `count` episodes as a list of batches of numpy arrays, the same in every run."""
    size = min(8, count)
    batches = episodes(data, config, size, config.meta.seed + 1, augment=False, **people)
    return [
        {name: np.asarray(value) for name, value in batch.items()}
        for batch in itertools.islice(refusing(batches.as_numpy_iterator()), -(-count // size))
    ]
