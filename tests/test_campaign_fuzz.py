"""The fuzz campaign: its mutations keep checksums right, and it reports crashes and hangs."""

import io
import json
import random
import zipfile

import pytest
from PIL import Image

from tests.campaigns import fuzz, mutations, parsers
from tf_talkinghead.errors import InputError

SLOW = {"avatar", "grpc_request"}  # their seeds take TensorFlow


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in sorted(parsers.PARSERS)
    ],
)
def test_mutations_are_repeatable_and_often_pass_the_first_check(name):
    parser = parsers.PARSERS[name]()
    seeds = parser.seeds()
    inputs = [
        [parser.mutate(rng, rng.choice(seeds)) for rng in map(random.Random, range(60))]
        for _ in range(2)
    ]
    assert inputs[0] == inputs[1] and len(set(inputs[0])) > 30
    past = sum(parser.passes(data) for data in inputs[0])
    assert past >= 6  # a tenth


def test_the_same_command_goes_on_where_it_stopped(monkeypatch, tmp_path):
    """Finished parsers are not fuzzed again, unless they had a fault or the budget is another."""
    fuzzed = []

    class Quick(fuzz.Fuzzed):
        def go(self, seconds, least, most):
            fuzzed.append(self.name)
            return {"inputs": 9.0, "faults": float(self.name == "png" and len(fuzzed) < 3)}

    monkeypatch.setattr(fuzz, "Fuzzed", Quick)
    options = {"folder": str(tmp_path), "only": "png,jpg", "together": "1"}
    assert fuzz.run("tiny", options)["faults_found"] == 1
    assert fuzz.run("tiny", options)["faults_found"] == 0
    assert fuzzed == ["png", "jpg", "png"]
    fuzz.run("tiny", options | {"seconds": "5"})
    assert fuzzed[3:] == ["png", "jpg"]


def test_checksums_are_mended():
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "png")
    opened = 0
    for seed in range(200):
        data = mutations.png(random.Random(seed), picture.getvalue())
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.verify()  # every checksum
                opened += 1
        except Exception:
            continue
    assert opened > 60
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as file:
        file.writestr("a.npy", bytes(300))
    sound = 0
    for seed in range(100):
        try:
            with zipfile.ZipFile(
                io.BytesIO(mutations.archive(random.Random(seed), stored.getvalue()))
            ) as file:
                sound += file.testzip() is None
        except Exception:
            continue
    assert sound > 60


def worker(monkeypatch, tmp_path, program):
    """What the campaign reports of a worker that runs `program`, after input 7 began."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, pathlib, struct, sys, time\n"
        "folder = pathlib.Path(sys.argv[4])\n"
        "def begin(number):\n"
        "    place = struct.pack('<qqqd', number, number, 0, time.monotonic())\n"
        "    (folder / 'next').write_bytes(place)\n"
        "    os.replace(folder / 'next', folder / 'place')\n" + program
    )
    monkeypatch.setattr(fuzz, "WORKER", [str(script)])
    monkeypatch.setattr(fuzz, "HANG", 0.5)
    fuzzed = fuzz.Fuzzed("png", "0", tmp_path)
    found = fuzzed.go(seconds=1.5, least=0, most=100)
    return found, [json.loads(line)["key"] for line in (tmp_path / "png/faults.jsonl").open()]


def test_a_crash_is_a_fault_and_the_campaign_goes_on_behind_it(monkeypatch, tmp_path):
    program = "first = int(sys.argv[3])\nif first == 0: begin(7); os.abort()\nbegin(first)\n"
    program += "time.sleep(0.3); begin(99)\ntime.sleep(9)\n"
    found, keys = worker(monkeypatch, tmp_path, program)
    assert keys == ["png ended with -6"] and found["faults"] == 1 and found["inputs"] == 100


def test_a_hang_is_a_fault(monkeypatch, tmp_path):
    program = "begin(3)\nif sys.argv[3] == '0': time.sleep(60)\nbegin(99)\ntime.sleep(9)\n"
    _, keys = worker(monkeypatch, tmp_path, program)
    assert keys == ["png hang"]


def test_unknown_parsers_are_refused():
    with pytest.raises(InputError, match="only=jpeg2000"):
        fuzz.run("tiny", {"only": "jpeg2000"})
