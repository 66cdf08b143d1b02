"""Load of clients that use every label while versions are published, promoted, rolled back and
deleted.
"""

import threading
import time

import numpy as np

from serving import rollout
from serving.client import AvatarClient, AvatarError
from tests import toy_models
from tests.campaigns import servers
from tests.toy_models import landmarks, level
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store

NAME, WEIGHTS = "anna", 1_000_000  # a version takes 4 MB
LABELS = (None, "stable", "canary")
KEPT = 3  # versions on disk
# Memory grows if its median over the last third of the time exceeds GROWTH times that of the middle
# third plus SLACK MB.
GROWTH, SLACK = 1.05, 10.0


def run(preset, options, folder):
    """The part `versions` of the load campaign: figures, among them "faults"."""
    kind = options.get("server", "real")
    seconds, wanted = float(options.get("seconds", "3600")), int(options.get("versions", "200"))
    if not 2 <= wanted <= 255:
        raise InputError(f"versions={wanted}: expected 2 to 255: a pixel value stores the version")
    models, memory, late = folder / "models", [], []
    toy_models.publish(models, NAME, 1, weights=WEIGHTS)
    with servers.process(kind, models, folder / "log") as (address, pid):
        clients = Clients(address, int(options.get("clients", "32")))
        began, version = time.monotonic(), 1
        try:
            while time.monotonic() - began < seconds and version < wanted:
                version += 1
                late += _turn(models, address, version, clients)
                memory.append(servers.resident_megabytes(pid))
                due = began + seconds * version / wanted
                time.sleep(max(0.0, due - time.monotonic()))
            time.sleep(max(0.0, began + seconds - time.monotonic()))
        finally:
            clients.end()
        memory.append(servers.resident_megabytes(pid))
    third = max(1, len(memory) // 3)
    middle, last = np.median(memory[third : 2 * third] or memory), np.median(memory[-third:])
    grew = last > middle * GROWTH + SLACK
    for what in [*clients.wrong[:5], *clients.errors[:5], *late[:5]]:
        print(f"versions: {what}")
    return {
        "server": kind,
        "seconds": time.monotonic() - began,
        "clients": float(len(clients.threads)),
        "frames": float(clients.frames),
        "wrong_frames": float(len(clients.wrong)),
        "errors_left": float(len(clients.errors)),
        "versions_published": float(version),
        "rollouts_late": float(len(late)),
        "memory_middle_third_mb": float(middle),
        "memory_last_third_mb": float(last),
        "memory_over_time_mb": " ".join(f"{mb:.0f}" for mb in memory[:: max(1, len(memory) // 12)]),
        "faults": float(len(clients.wrong) + len(clients.errors) + len(late) + grew),
    }


def _turn(models, address, version, clients):
    """Publishes, promotes, rolls back, promotes, deletes; returns what was not done in time."""
    clients.published.add(version)
    toy_models.publish(models, NAME, version, weights=WEIGHTS)
    roll = lambda **steps: rollout.roll_out(models, [address], wait_seconds=120, **steps)
    late = roll()
    late += roll(promote=[NAME])
    late += roll(pin={NAME: version - 1})
    late += roll(promote=[NAME])
    for old in store.versions(models, NAME)[:-KEPT]:
        late += roll(retire={NAME: old})
    return late


class Clients:
    """Threads that render random landmarks through all labels and check every pixel."""

    def __init__(self, address, count):
        self.published, self.frames, self.wrong, self.errors = {1}, 0, [], []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self.threads = [
            threading.Thread(target=self._run, args=(address, number)) for number in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def end(self):
        self._stop.set()
        for thread in self.threads:
            thread.join()

    def _run(self, address, number):
        rng, label = np.random.default_rng(number), LABELS[number % len(LABELS)]
        with AvatarClient(address, NAME, label=label, jpeg=False, in_flight=1) as avatar:
            while not self._stop.is_set():
                x = rng.random(rng.integers(1, 5), np.float32)
                points = np.concatenate([landmarks(value, 1 - value) for value in x])
                try:
                    frames = avatar.render(points)
                except AvatarError as error:
                    self.errors.append(f"{label}: {error}")
                    continue
                wrong = self._what_is_wrong(x, frames)
                with self._lock:
                    self.frames += len(x)
                    if wrong:
                        self.wrong.append(f"{label}: {wrong}")

    def _what_is_wrong(self, x, frames):
        expected = np.array([[level(v), level(np.float32(1 - v))] for v in x], np.uint8)
        if (frames[..., 1:] != expected[:, None, None]).any():
            return f"landmarks {x} gave {frames[:, 0, 0].tolist()}"
        versions = set(np.unique(frames[..., 0]).tolist())
        if len(versions) != 1 or not versions <= self.published:
            return f"one answer by versions {sorted(versions)}"
        return ""
