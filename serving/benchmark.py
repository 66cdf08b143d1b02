"""Benchmark of serving: latency, frames per second by clients, bytes on the wire, memory.

    # speed: the server against the model in process
    python -m scripts.benchmark serving
    # memory: by batch size and number of people
    python -m scripts.benchmark serving --option=measure=memory
    # speed of any server
    python -m scripts.benchmark serving --option=server=HOST:PORT --option=person=eileen

The embedded server runs in its own process, as in production; the callers are threads of this one.
The avatar has random weights, which do not change speed or size.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from serving.client import AvatarClient
from serving.servables import Servable
from tf_talkinghead.config import preset
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.models.generator import Generator, adain_size
from tf_talkinghead.models.layers import converge_spectral_norms
from tf_talkinghead.personalization.avatar import Avatar, Facts

OPTIONS = {
    "measure": "speed (default) or memory",
    "server": "HOST:PORT of a running server to measure instead of the embedded one",
    "person": "name of the avatar on that server, default someone",
    "seconds": "of each throughput measurement, default 8",
    "clients": "numbers of concurrent clients, default 1/8/32",
    "people": "number of copies to load to measure the memory of one, default 8",
    "batches": "batch sizes whose memory is measured, default 1/2/4/8/16",
}
PERSON = "someone"
SIGNATURE, OUTPUTS = "render_jpeg", ("jpeg_bytes", "ok")
ONE_FRAME_CALLS = 150
ROUNDS = 4  # alternations of the kinds of callers, so that other load affects all alike


def run(preset_name, options):
    """Measures serving, see the module docstring.

    Args:
      preset_name: name of the configuration preset.
      options: as in OPTIONS.

    Returns:
      {figure: number or text}; names include the units.
    """
    measure = options.get("measure", "speed")
    if measure not in ("speed", "memory"):
        raise InputError(f"--option=measure={measure}: expected speed or memory")
    clients = _numbers(options, "clients", "1/8/32")
    seconds = float(options.get("seconds", 8))
    if "person" in options and "server" not in options:
        raise InputError("--option=person needs --option=server=HOST:PORT")
    if "server" in options:
        if measure == "memory":
            raise InputError("--option=measure=memory measures processes of its own, not a server")
        with AvatarClient(options["server"], options.get("person", PERSON)) as client:
            return _served_speed(client, seconds, clients)
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder)
        if measure == "memory":
            batches, people = (
                _numbers(options, "batches", "1/2/4/8/16"),
                int(options.get("people", 8)),
            )
            if people < 2:
                raise InputError(
                    f"--option=people={people}: expected 2 or more, since the memory of one is "
                    "measured as a difference"
                )
            return _memory(models, preset_name, batches, people)
        path = export_person(_avatar(preset_name), models, PERSON)
        return _speed(models, path, seconds, clients)


def _numbers(options, name, default):
    return [int(text) for text in options.get(name, default).split("/")]


def _avatar(preset_name):
    """An avatar with random weights and landmarks on a circle."""
    config = preset(preset_name)
    generator = Generator(config.model)
    generator.build()
    converge_spectral_norms(generator)
    psi_hat = np.random.default_rng(0).normal(0, 0.5, adain_size(config.model)).astype(np.float32)
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    circle = np.float32(0.5 + 0.3 * np.stack([np.cos(angles), np.sin(angles)], axis=-1))
    weights = generator.folded("float32").get_weights()
    return Avatar(config, "feed_forward", weights, psi_hat, circle, Facts(images=1, steps=0))


def _landmarks(rows):
    return np.random.default_rng(1).uniform(0.2, 0.8, [rows, 68, 2]).astype(np.float32)


# -- speed ---------------------------------------------------------------------------------------


def _speed(models, path, seconds, clients):
    figures = {"weights": "random"}
    servable = Servable(PERSON, 1, path)
    largest = servable.batching_parameters().max_batch_size.value
    call = lambda rows: servable.run(SIGNATURE, {"landmarks": _landmarks(rows)}, OUTPUTS)
    with _server(models) as address, AvatarClient(address, PERSON) as client:
        predict = lambda: client.predict(SIGNATURE, {"landmarks": _landmarks(1)}, OUTPUTS)
        inside, served = _interleaved([lambda: call(1), predict], ONE_FRAME_CALLS)
        figures |= _percentiles("in_process", inside) | _percentiles("served", served)
        figures["one_frame_added_p50_ms"] = (
            figures["one_frame_served_p50_ms"] - figures["one_frame_in_process_p50_ms"]
        )
        most = max(clients)
        for count in sorted(set(clients) - {most}):
            figures[f"frames_per_second_{count}_clients"] = _rate(predict, 1, count, seconds)
        # The model without a server, full batches, one or two at a time, alternating with the
        # served model.
        batch = lambda: call(largest)
        kinds = [(batch, largest, 1), (batch, largest, 2), (predict, 1, most)]
        rates = np.mean(
            [[_rate(*kind, seconds / ROUNDS) for kind in kinds] for _ in range(ROUNDS)], axis=0
        )
        figures["in_process_batched_frames_per_second"] = max(rates[:2])
        figures[f"frames_per_second_{most}_clients"] = rates[2]
        figures[f"served_share_of_in_process_{most}_clients"] = rates[2] / max(rates[:2])
        figures |= _bytes_on_the_wire(client)
    servable.close()
    return figures


def _served_speed(client, seconds, clients):
    """Figures of a running server; InputError where it does not answer."""
    predict = lambda: client.predict(SIGNATURE, {"landmarks": _landmarks(1)}, OUTPUTS)
    (served,) = _interleaved([predict], ONE_FRAME_CALLS)
    figures = _percentiles("served", served)
    for count in sorted(set(clients)):
        figures[f"frames_per_second_{count}_clients"] = _rate(predict, 1, count, seconds)
    return figures | _bytes_on_the_wire(client)


def _percentiles(name, times):
    """Percentiles in milliseconds of the call durations `times` in seconds."""
    return {
        f"one_frame_{name}_p{share}_ms": 1e3 * np.percentile(times, share) for share in (50, 99)
    }


def _interleaved(calls, count):
    """Durations in seconds of `count` calls of each kind, alternating between the kinds."""
    times = [[] for _ in calls]
    for index in range(count + 5):
        for call, into in zip(calls, times):
            start = time.perf_counter()
            call()
            if index >= 5:
                into.append(time.perf_counter() - start)
    return times


def _rate(call, frames, threads, seconds):
    """Frames per second of `threads` threads that call continuously, `frames` per call."""
    stop, counts = threading.Event(), [0] * threads

    def caller(index):
        while not stop.is_set():
            call()
            counts[index] += frames

    workers = [threading.Thread(target=caller, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    time.sleep(0.3)  # until all threads are calling
    before, start = sum(counts), time.perf_counter()
    time.sleep(seconds)
    made, took = sum(counts) - before, time.perf_counter() - start
    stop.set()
    for worker in workers:
        worker.join()
    return made / took


def _bytes_on_the_wire(client):
    """Bytes of request and answer for one frame, by signature."""
    figures = {}
    for signature, outputs in ((SIGNATURE, OUTPUTS), ("serving_default", ("frames", "ok"))):
        request = client.request(signature, {"landmarks": _landmarks(1)}, outputs)
        figures[f"request_bytes_{signature}"] = float(request.ByteSize())
        figures[f"answer_bytes_{signature}"] = float(client.answer(request).ByteSize())
    return figures


class _server:
    """Context manager that runs the serve script on a free port and yields its address."""

    def __init__(self, models):
        self._models = models

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.serve", f"--models={self._models}", "--port=0",
             "--grpc_max_threads=64"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return self._process.stdout.readline().split()[-1]

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait()


# -- memory --------------------------------------------------------------------------------------


def _memory(models, preset_name, batches, people):
    """Memory in MB of one loaded avatar, and peak memory of batches beyond it.

    Each is measured in a process of its own.
    """
    path = export_person(_avatar(preset_name), models, PERSON)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    figures = {"weights": "random", "disk_mb_per_person": size / 2**20}
    empty = _in_own_process(path, copies=0)
    one, many = _in_own_process(path, copies=1), _in_own_process(path, copies=people)
    figures["process_without_models_mb"] = empty["now"]
    figures["loaded_mb_per_person"] = (many["now"] - one["now"]) / (people - 1)
    for rows in batches:
        made = _in_own_process(path, copies=1, rows=rows)
        figures[f"peak_mb_beyond_loaded_batch_{rows}"] = made["peak"] - made["loaded"]
    return figures


def _in_own_process(path, copies, rows=0):
    """Resident memory in MB of a new process that loads `copies` and runs a batch of `rows`.

    Returns:
      dict with `loaded`, `now` and `peak`.
    """
    code = (
        "import sys; from serving import benchmark; "
        f"benchmark.print_memory({str(path)!r}, {copies}, {rows})"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(("loaded", "now", "peak"), map(float, made.stdout.split()[-3:])))


def print_memory(path, copies, rows):
    """Prints resident memory in MB: after loading, after three runs of `rows` frames, at the peak.

    Args:
      path: version folder of the avatar.
      copies: number of copies to load.
      rows: frames of a batch.
    """
    held = [Servable(PERSON, 1, path) for _ in range(copies)]
    for servable in held:  # the first run rearranges weights, which counts as loading
        servable.run(SIGNATURE, {"landmarks": _landmarks(1)}, OUTPUTS)
    loaded = _resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    for _ in range(3 if rows else 0):
        held[0].run(SIGNATURE, {"landmarks": _landmarks(rows)}, OUTPUTS)
    print(loaded, _resident("VmRSS"), _resident("VmHWM"))


def _resident(field):
    return (
        int(re.search(rf"{field}:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
        / 1024
    )
