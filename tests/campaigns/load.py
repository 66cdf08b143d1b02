"""The load campaign: clients while versions change, a thousand people, latency by server.

    TF_SERVING_COMMAND=tensorflow_model_server python -m scripts.benchmark load
    python -m scripts.benchmark load --option=server=embedded --option=seconds=60 \\
        --option=versions=6 --option=people=50

    versions   32 clients for an hour while 200 versions are published, promoted, rolled back and
               deleted. The models write their version and their input into the pixels, so every
               frame is checked; an error left after the client's own retries is a fault, and so is
               memory that grows.
    people     1,000 people in a direct and in a guided bank (256 px, two sources): disk, memory and
               the time to add one.
    latency    p50 and p99 of one SavedModel in the real server, the embedded one and in process.
"""

import pathlib
import tempfile

from tests.campaigns import bank_load, latency, version_load
from tf_talkinghead.errors import InputError

PARTS = {"versions": version_load.run, "people": bank_load.run, "latency": latency.run}
OPTIONS = {
    "server": "real (TF_SERVING_COMMAND) or embedded, for the part versions; real by default",
    "seconds": "duration of the part versions; 3600 by default",
    "clients": "number of clients in the part versions; 32 by default",
    "versions": "number of versions that the part versions publishes; 200 by default",
    "people": "number of people in each bank; 1000 by default",
    "calls": "calls for one frame, for each row of the latency table; 500 by default",
    "only": "some of the parts, comma-separated: versions,people,latency",
}


def run(preset, options):
    """Runs the campaign, see the module docstring.

    Args:
      preset: preset of the networks in the parts people (direct bank) and latency.
      options: as in OPTIONS.

    Returns:
      The parts' figures, and "faults_found".
    """
    chosen = options["only"].split(",") if "only" in options else list(PARTS)
    if not set(chosen) <= set(PARTS):
        raise InputError(f"only={options['only']}: expected some of {', '.join(PARTS)}")
    if options.get("server", "real") not in ("real", "embedded"):
        raise InputError(f"server={options['server']}: expected real or embedded")
    figures = {"faults_found": 0.0}
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="load-") as folder:
            found = PARTS[name](preset, options, pathlib.Path(folder))
        figures["faults_found"] += found.pop("faults", 0.0)
        figures |= {f"{name}_{key}": value for key, value in found.items()}
        for key, value in found.items():
            print(f"{name}: {key} = {value if isinstance(value, str) else format(value, '.4g')}")
    return figures
