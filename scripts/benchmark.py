"""Benchmarks speed and memory of one subject, relative to the machine's own compute rate.

    python -m scripts.benchmark networks --preset=paper
    python -m scripts.benchmark SUBJECT --preset=demo --json=figures.json

SUBJECT is networks, data, train, person, guided, ablation, watermark, serving, drive, studio or
help. Prints one line per figure. --option=name=value sets an option of the subject; an unknown name
lists them all.

Three more subjects are campaigns, tests that take from minutes to hours and need a checkout:

    python -m scripts.benchmark faults|fuzz|load

`faults` kills commands at seeded moments and runs them on broken disks, `fuzz` feeds mutated input
to every parser, `load` runs clients while versions change. The exit code is 1 if a fault is found.
"""

import importlib.util
import json
import pathlib

from absl import flags

from scripts import command
from tf_talkinghead.config import PRESETS
from tf_talkinghead.errors import InputError

SUBJECTS = {
    "networks": "tf_talkinghead.benchmark.networks",
    "data": "tf_talkinghead.benchmark.data",
    "train": "tf_talkinghead.benchmark.train",
    "person": "tf_talkinghead.benchmark.person",
    "guided": "tf_talkinghead.benchmark.guided",
    "ablation": "tf_talkinghead.benchmark.ablation",
    "watermark": "tf_talkinghead.benchmark.watermark",
    "serving": "serving.benchmark",
    "drive": "serving.drive_benchmark",
    "studio": "tf_talkinghead.studio.benchmark",
    "help": "scripts.startup",
}
# Long tests, which lie in the checkout and not in the wheel.
CAMPAIGNS = {name: f"tests.campaigns.{name}" for name in ("faults", "fuzz", "load")}
_PRESET = flags.DEFINE_enum("preset", "demo", PRESETS, "Configuration to measure.")
_JSON = flags.DEFINE_string("json", None, "File to write the figures to, in addition.")
_OPTION = flags.DEFINE_multi_string(
    "option", [], "name=value, an option of the subject; may be repeated."
)


def main(argv):
    subjects = {**SUBJECTS, **CAMPAIGNS}
    if len(argv) != 2 or argv[1] not in subjects:
        raise InputError(
            f"expected one subject of {', '.join(subjects)}; got {' '.join(argv[1:]) or 'none'}"
        )
    if argv[1] in CAMPAIGNS and importlib.util.find_spec("tests.campaigns") is None:
        raise InputError(f"{argv[1]} is a campaign: run it in a checkout of the project")
    command.load("tensorflow")
    from tf_talkinghead.benchmark import machine

    module = importlib.import_module(subjects[argv[1]])
    options = _options(module.OPTIONS)

    with machine.PeakMemory() as peak:
        figures = module.run(_PRESET.value, options)
    figures = {"subject": argv[1], "preset": _PRESET.value, **machine.describe(), **figures}
    if peak.megabytes is not None:
        figures.setdefault("peak_memory_mb", peak.megabytes)
    lines = module.table(figures) if hasattr(module, "table") else []
    for name, value in figures.items():
        # The table already shows these figures.
        if not (lines and name.startswith(("profile_part_", "profile_kind_"))):
            print(f"{name} = {value if isinstance(value, str) else format(value, '.4g')}")
    print(*lines, sep="\n", end="\n" if lines else "")
    if _JSON.value:
        _write(pathlib.Path(_JSON.value), figures)
    return int(bool(figures.get("faults_found", 0)))


def _options(known):
    """The --option values as {name: value}; InputError for an unknown name."""
    options = {}
    for text in _OPTION.value:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            listed = "; ".join(f"{key}: {meaning}" for key, meaning in known.items()) or "none"
            raise InputError(f"--option={text}: expected name=value with one of: {listed}")
        options[name] = value
    return options


def _write(path, figures):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json={path}: {error}") from error


if __name__ == "__main__":
    command.run(main)
