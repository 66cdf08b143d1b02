"""Removal of a person from the bank of guided avatars, whose versions contain photographs of them.

removed = remove("avatars", "ann")    # numbers of the versions that held her
"""

import os
from collections.abc import Callable

from tf_talkinghead.export import store
from tf_talkinghead.export.config_file import replace_in_config
from tf_talkinghead.export.guided_bank import publish, read_bank, read_description
from tf_talkinghead.export.store import BANK


def versions_with(models_dir: str | os.PathLike, person: str) -> list[int]:
    """The versions of the bank that hold `person`, oldest first."""
    return [
        version
        for version in store.versions(models_dir, BANK)
        if person in read_description(models_dir, version).get("members", {})
    ]


def check_removable(
    models_dir: str | os.PathLike, person: str, watermark_key: bytes | None = None
) -> None:
    """Raises InputError where `remove` would, before anything of the person is removed."""
    version = _newest_shared(models_dir, person)
    if version is not None:
        read_bank(models_dir, version, watermark_key)


def remove(
    models_dir: str | os.PathLike,
    person: str,
    follow: Callable[[int, list[int]], None] | None = None,
    watermark_key: bytes | None = None,
) -> list[int]:
    """Removes every version of the bank that holds `person`; returns their numbers.

    If other members remain in the newest version, a version without the person is published first,
    so that servers keep a bank.

    Args:
      models_dir: folder of all models.
      person: the member's name.
      follow: called before the removal with the number of the version that stays and the numbers of
        those to be removed; it moves the servers' labels, and raises if the servers do not follow.
        None: the labels of removed versions are taken out of models.config, which every server
        accepts.
      watermark_key: the key that the bank's frames are marked with; None is the public one.

    Raises:
      InputError: the newest version is damaged or marked with another key.
    """
    with store.lock(models_dir, BANK, wait=True):
        held = versions_with(models_dir, person)
        if not held:
            return []
        newest = store.versions(models_dir, BANK)[-1]
        if newest == _newest_shared(models_dir, person):
            bank = read_bank(models_dir, newest, watermark_key)
            del bank.members[person], bank.cards[person]
            newest = int(publish(models_dir, bank).name)
        left = newest not in held
        if left and follow is not None:
            follow(newest, held)
        replace_in_config(models_dir, BANK, held, newest if left else None)
        for version in held:
            store.remove_version(models_dir, BANK, version)
    return held


def _newest_shared(models_dir, person):
    """The newest version if it holds `person` and others, who have to be published again."""
    versions = store.versions(models_dir, BANK)
    members = read_description(models_dir, versions[-1]).get("members", {}) if versions else {}
    return versions[-1] if person in members and len(members) > 1 else None
