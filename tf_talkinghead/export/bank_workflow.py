"""The bank from weights to a published version: one generator, many people.

publish_bank("guided", "avatars")    # -> PublishedBank(version, people, left_out)
"""

import dataclasses
import os
import pathlib

from tf_talkinghead.export import bank, guided_bank, store
from tf_talkinghead.export.workflow import check_keep_versions, precision
from tf_talkinghead.personalization.settings import resolve
from tf_talkinghead.weights.store import load_trained


@dataclasses.dataclass
class PublishedBank:
    """What `publish_bank` published: the version's folder, its members, and who was left out."""

    version: pathlib.Path
    people: list[str]
    left_out: list[str]  # of a shared mode, but made with other weights


def publish_bank(
    weights: str,
    models: str | os.PathLike,
    people=(),
    dtype: str | None = None,
    bfloat16_compute: bool | None = None,
    keep_versions: int | None = None,
    size: int | None = None,
    watermark: bool | None = None,
    watermark_key: bytes | None = None,
) -> PublishedBank:
    """Publishes the shared generator of `weights` as the next version of the bank.

    Args:
      weights: "guided", "demo" or a run directory.
      models: folder of all models.
      people: the members' names; empty: everyone made with these weights by `feed_forward` or
        `vector`.
      dtype, bfloat16_compute, watermark: None: the run's.
      keep_versions: remove all but the newest so many versions afterwards; None keeps all.
      size: as in `workflow.publish_again`.
      watermark_key: None is the public one.

    Raises:
      InputError: a setting with an impossible value, or a person who cannot be a member.
    """
    check_keep_versions(keep_versions)
    trained = load_trained(weights)
    config = resolve(
        trained.config,
        dtype=dtype,
        bfloat16_compute=bfloat16_compute,
        size=size,
        watermark=watermark,
    )
    guided = config.model.generator == "guided"
    export_bank = guided_bank.export_guided_bank if guided else bank.export_bank
    generator = trained.provenance["sha256"]
    folded = trained.generator.folded("float32").get_weights()
    # Under the lock, so that somebody deleted meanwhile does not come back with this version.
    with store.lock(models, store.BANK, wait=True):
        avatars, left_out = bank.bank_people(models, list(people), generator)
        version = export_bank(
            config,
            folded,
            generator,
            models,
            avatars,
            watermark_key=watermark_key,
            **precision(config),
        )
        if keep_versions:
            store.prune(models, store.BANK, keep_versions)
    return PublishedBank(version, sorted(avatars), left_out)
