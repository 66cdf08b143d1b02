"""Load of the banks: disk, memory and the time to add one person, for many people in each form."""

import dataclasses
import time

import numpy as np

from tests.campaigns import servers
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar, random_guided_avatar, weights_sha256
from tf_talkinghead.export import bank, guided_bank

SIZE, SOURCES = 256, 2  # of a guided member


def run(preset, options, folder):
    """The part `people` of the load campaign: figures of each form of bank, no faults."""
    count = int(options.get("people", "1000"))
    found = {"people": float(count)}
    for form in ("direct", "guided"):
        models = folder / form
        models.mkdir()
        people = _direct(preset, count + 1) if form == "direct" else _guided(count + 1)
        first = next(iter(people.values()))
        export = bank.export_bank if form == "direct" else guided_bank.export_guided_bank
        given = (first.config, first.weights, weights_sha256(), models)
        *known, last = people
        began = time.monotonic()
        version = export(*given, {name: people[name] for name in known})
        found[f"{form}_publish_seconds"] = time.monotonic() - began
        found[f"{form}_disk_mb"] = _megabytes(version)
        began = time.monotonic()
        if form == "direct":
            assert bank.join(models, last, people[last])
        else:
            version = export(*given, people)
        found[f"{form}_add_one_seconds"] = time.monotonic() - began
        found |= {f"{form}_{key}": value for key, value in _served(models, form, last).items()}
    return found


def _served(models, form, name):
    """Start time, memory and call time of an embedded server with the bank's newest version."""
    from serving.client import AvatarClient

    began = time.monotonic()
    with servers.process("embedded", models, models / "log") as (address, pid):
        path = True if form == "guided" else str(models / "bank")
        with AvatarClient(address, name, bank=path, timeout=300) as avatar:
            avatar.render(COLLINS[None])
            loaded = time.monotonic() - began
            times = []
            for _ in range(20):
                began = time.monotonic()
                avatar.render(COLLINS[None])
                times.append(time.monotonic() - began)
        return {
            "server_start_seconds": loaded,
            "server_memory_mb": servers.resident_megabytes(pid),
            "call_ms": 1000 * float(np.median(times)),
        }


def _direct(preset, count):
    shared, _ = random_avatar(preset, mode="vector")
    return {
        f"p{number:04d}": dataclasses.replace(shared, psi_hat=np.roll(shared.psi_hat, number))
        for number in range(count)
    }


def _guided(count):
    """People of one tiny guided generator, with two photos of noise at SIZE px each."""
    shared = random_guided_avatar(size=SIZE)
    export = dataclasses.replace(shared.config.export, bank_sources=SOURCES)
    config = dataclasses.replace(shared.config, export=export)
    random, people = np.random.default_rng(0), {}
    shape = (SOURCES, SIZE, SIZE, 3)
    for number in range(count):
        photos = dataclasses.replace(shared.photos, images=random.integers(0, 256, shape, np.uint8))
        people[f"p{number:04d}"] = dataclasses.replace(shared, config=config, photos=photos)
    return people


def _megabytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
