"""Latency (p50, p99) of one SavedModel in the real server, the embedded one and in process."""

import os
import threading
import time

import numpy as np
import tensorflow as tf

from serving.client import AvatarClient
from tests.campaigns import servers
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tf_talkinghead.export.saved_model import export_person

CALLERS = (1, 8)


def run(preset, options, folder):
    """The part `latency` of the load campaign: milliseconds of a call for one raw frame."""
    calls, models = int(options.get("calls", "500")), folder / "models"
    avatar, _ = random_avatar(preset)
    version = export_person(avatar, models, "anna")
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    points = tf.constant(COLLINS[None])
    found = _row("in_process", lambda: signature(landmarks=points)["frames"].numpy(), calls)
    kinds = ["embedded"] + (["real"] if os.environ.get("TF_SERVING_COMMAND") else [])
    if "real" not in kinds:
        found["real"] = "not run: TF_SERVING_COMMAND is not set"
    for kind in kinds:
        with (
            servers.process(kind, models, folder / kind) as (address, _),
            AvatarClient(address, "anna", jpeg=False, in_flight=max(CALLERS)) as client,
        ):
            found |= _row(kind, lambda client=client: client.render(COLLINS[None]), calls)
    return found


def _row(name, call, calls):
    """p50, p99 and calls per second of `calls` calls, for each number of callers."""
    for _ in range(20):
        call()
    found = {}
    for callers in CALLERS:
        times = []

        def work(count, times=times):
            for _ in range(count):
                began = time.perf_counter()
                call()
                times.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work, args=(calls // callers,)) for _ in range(callers)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        p50, p99 = np.percentile(times, [50, 99])
        row = f"{name}_{callers}_callers"
        found |= {f"{row}_p50_ms": 1000 * float(p50), f"{row}_p99_ms": 1000 * float(p99)}
        found[f"{row}_per_second"] = len(times) / seconds
    return found
