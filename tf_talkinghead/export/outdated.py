"""Published avatars that were made with other weights than those in use, by their cards."""

import os
import pathlib
from typing import NamedTuple

from tf_talkinghead.export import store
from tf_talkinghead.export.card import CARD_FILE
from tf_talkinghead.files import read_json


class Outdated(NamedTuple):
    """The newest version of an avatar that was made with other weights."""

    person: str
    version: int
    date: str  # the day it was made, YYYY-MM-DD
    trained_on: str  # the run of its weights


def outdated(models: str | os.PathLike, current: set[str]) -> list[Outdated]:
    """The avatars, and the bank, whose newest version was made with none of the weights `current`.

    Args:
      models: folder of all models.
      current: SHA-256 of the weights in use, as `weights.identity` gives them.

    Returns:
      By name. Models without a readable card, which are not of this project, are left out.
    """
    found = []
    for name in [*store.people(models), store.BANK]:
        version = max(store.versions(models, name), default=None)
        if version is None:
            continue
        try:
            card = read_json(pathlib.Path(models) / name / str(version) / CARD_FILE)
        except (OSError, ValueError):
            continue
        if card.get("trained_weights_sha256") not in current:
            made = str(card.get("date") or "an unknown day")[:10]
            found.append(Outdated(name, version, made, str(card.get("trained_on") or "unknown")))
    return found


def sentence(found: list[Outdated], weights: str, models: str | os.PathLike) -> str:
    """The line that `serve` prints about outdated avatars; `weights` as its flag names them."""
    listed = ", ".join(f"{one.person} (version {one.version}, {one.date})" for one in found)
    return (
        f"made with other weights than {weights}: {listed}; python -m scripts.personalize "
        f"--weights={weights.partition(',')[0]} --models={models} --refresh=all makes avatars anew"
    )
