"""Process that gives mutated inputs to one parser, and may crash.

    python -m tests.campaigns.fuzz_worker NAME SEED FIRST FOLDER

The process writes its progress to FOLDER/place (number of the input, inputs past the first check,
inputs refused: int64 each; start of the input in seconds: float64), so that the campaign notices a
crash or a hang and continues with the next input. Unexpected exceptions are appended to
FOLDER/faults.jsonl, and their inputs are written beside it.
"""

import importlib.util
import json
import mmap
import pathlib
import random
import resource
import struct
import sys
import time
import traceback

from tests.campaigns.parser import quiet, refusals
from tests.campaigns.parsers import PARSERS

PLACE = struct.Struct("<qqqd")  # number, past, refused, time.monotonic() at its start
MEMORY = 3 << 30  # bytes that one parser may take beyond what its libraries took


def input_of(parser, seeds, name, seed, number):
    """Input `number`, a mutation of one of the seeds; None for the first numbers, the seeds."""
    if number < len(seeds):
        return None
    rng = random.Random(f"{seed} {name} {number}")
    return parser.mutate(rng, rng.choice(seeds))


def main(name, seed, first, folder):
    folder = pathlib.Path(folder)
    quiet()
    parser, allowed = PARSERS[name](), refusals()
    seeds = parser.seeds()
    with open(folder / "place", "r+b") as file:
        place = mmap.mmap(file.fileno(), PLACE.size)
    _, past, refused, _ = PLACE.unpack(place)
    bounded = False

    def note_place(number):
        # Not pack_into, which clears the bytes first: the campaign reads them at any moment.
        place[:] = PLACE.pack(number, past, refused, time.monotonic())

    def attempt(number, data):
        nonlocal past, refused
        note_place(number)
        past += parser.passes(data)
        try:
            parser.parse(data)
        except allowed:
            refused += 1
        except Exception as error:
            _note(folder, name, number, data, error)
        note_place(number)

    if parser.guided and importlib.util.find_spec("atheris"):
        return _guided(parser, seeds, name, seed, first, folder, attempt)
    for data in seeds:  # valid input must be accepted; this also loads the libraries
        parser.parse(data if name != "tfrecord" else _as_record(data))
    number = max(first, len(seeds))
    while True:
        if not bounded:
            bounded = True
            status = pathlib.Path("/proc/self/statm").read_text().split()
            limit = int(status[0]) * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        attempt(number, input_of(parser, seeds, name, seed, number))
        number += 1


def _guided(parser, seeds, name, seed, first, folder, attempt):
    """Runs atheris: own and libFuzzer's mutations, guided by coverage of this project's code."""
    atheris = importlib.import_module("atheris")
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith(("tf_talkinghead.", "serving.")):
            _instrument(atheris, module)
    corpus = folder / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    number = first

    def one(data):
        nonlocal number
        attempt(number, data)
        number += 1

    def mutate(data, size, number):
        rng = random.Random(number)
        if rng.random() < 0.5:
            return atheris.Mutate(data, size)
        source = data if rng.random() < 0.5 else rng.choice(seeds)
        try:
            return parser.mutate(rng, source)[:size]
        except Exception:  # libFuzzer may have made data that the mutation cannot read
            return parser.mutate(rng, rng.choice(seeds))[:size]

    options = ["-max_len=65536", "-rss_limit_mb=0", "-print_final_stats=0", f"-seed={1 + first}"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def _instrument(atheris, module):
    """Instruments the functions of an imported module in place."""
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) == module.__name__ and hasattr(value, "__code__"):
            try:
                atheris.instrument_func(value)
            except Exception:  # not every function can be instrumented
                continue


def _as_record(data):
    from tests.campaigns.mutations import tfrecord

    return tfrecord([data])


def _note(folder, name, number, data, error):
    """Appends a fault, only the first one of each place in the code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame
        for frame in frames
        if "tf_talkinghead/" in frame.filename or "serving/" in frame.filename
    ]
    where = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "elsewhere"
    path = folder / "faults.jsonl"
    known = path.read_text() if path.exists() else ""
    key = f"{name} {type(error).__name__} {where}"
    if json.dumps(key) in known:
        return
    (folder / f"{name}-{number}.bin").write_bytes(data)
    with open(path, "a") as file:
        line = {"key": key, "number": number, "what": str(error)[:300]}
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
