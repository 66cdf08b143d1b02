"""Settings of a run that depend on its data, or on the run already in its folder.

If no number of steps is given, it follows from the epochs; if no held-out people are named, the
seed chooses them. A run that is resumed keeps the settings it was started with.
"""

import dataclasses
import pathlib
import random

from tf_talkinghead.config import PAPER_EPOCHS, Config, ConfigError, from_json
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import Damaged, read_json

# Fields of section `meta` that may differ when a run is resumed: its length, and how often it is
# saved and evaluated.
_MAY_CHANGE = {
    "steps",
    "epochs",
    "checkpoint_every",
    "keep_checkpoints",
    "summary_every",
    "evaluate_every",
    "holdout_episodes",
    "rate_decay",
}


def stored_config(run_dir) -> Config | None:
    """The configuration of the run in `run_dir`; None where there is no run."""
    path = pathlib.Path(run_dir) / "config.json"
    if not path.is_file():
        return None
    try:
        return from_json(path.read_bytes())
    except ConfigError as error:
        raise InputError(
            f"{path}: {error}; put the file back, or train anew in another --run_dir"
        ) from error


def check_resumable(config, run_dir):
    """Checks that `run_dir` holds no run of another configuration.

    Raises:
      InputError: it does; the message names a field and both values.
    """
    stored = stored_config(run_dir)
    if stored is None:
        return
    before = _flat(dataclasses.asdict(stored))
    for name, value in _flat(dataclasses.asdict(config)).items():
        section, _, field = name.partition(".")
        later = section in ("personalize", "export")
        resumable = later or (section == "meta" and field in _MAY_CHANGE)
        if not resumable and before[name] != value:
            raise InputError(
                f"{run_dir} holds a run with {name} = {before[name]!r}, this one has {value!r}; "
                "give another --run_dir"
            )


def with_steps(config: Config, run_dir, videos: int) -> Config:
    """`config` with the number of updates in `meta.steps`.

    If `meta.steps` is 0, the number of the run in `run_dir` is used, unless `meta.epochs` differs
    from that run's. If there is no such run, the number follows from `meta.epochs` (0: the paper's
    number for the variant), each of one episode per video; then the result holds both numbers.
    """
    meta = config.meta
    if meta.steps:
        return config
    stored = stored_config(run_dir)
    if stored is not None and stored.meta.steps and meta.epochs in (0, stored.meta.epochs):
        steps, epochs = stored.meta.steps, stored.meta.epochs
    else:
        epochs = meta.epochs or PAPER_EPOCHS[meta.variant]
        steps = -(-epochs * videos // meta.batch_size)
    return dataclasses.replace(config, meta=dataclasses.replace(meta, steps=steps, epochs=epochs))


def _stored_people(path):
    """The held-out people in a run.json; the resumed run must not train on them either."""
    try:
        names = read_json(path)["held_out"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Damaged(f"held_out: expected a list of names, got {names!r}")
        return names
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: damaged ({error}): it holds the people kept out of training; put the file "
            "back, or train anew in another --run_dir"
        ) from error


def held_out_people(dataset, config, run_dir, holdout):
    """Sorted names of the people kept out of training; a resumed run keeps those of its run.json.

    Args:
      dataset: Dataset.
      config: Config; `meta.holdout_people` people are drawn by `meta.seed` where `holdout` is None.
      run_dir: folder of the run.
      holdout: names, or None.

    Raises:
      InputError: unknown names, nobody left to train on, or other people than the stored run's.
    """
    path = pathlib.Path(run_dir) / "run.json"
    stored = _stored_people(path) if path.is_file() else None
    if holdout is None:
        names, count = dataset.identities, config.meta.holdout_people
        if count >= len(names):
            raise InputError(
                f"--holdout_people={count} leaves nobody to train on: "
                f"{dataset.folder} has {len(names)} people"
            )
        holdout = stored or random.Random(config.meta.seed).sample(names, count)
    holdout = sorted(holdout)
    unknown = set(holdout) - set(dataset.identities)
    if unknown:
        raise InputError(f"--holdout_people: {dataset.folder} has no {sorted(unknown)[0]!r}")
    if stored is not None and holdout != stored:
        raise InputError(
            f"{run_dir} holds out {', '.join(stored)}, this run asks for {', '.join(holdout)}; "
            "give another --run_dir"
        )
    return holdout


def _flat(tree, prefix=""):
    """Nested dicts as one: "section.field" -> value."""
    found = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        found.update(_flat(value, f"{path}.") if isinstance(value, dict) else {path: value})
    return found
