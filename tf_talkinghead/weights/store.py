"""Trained weights on disk, which later steps load: a run directory or the shipped form.

    trained = load_trained("guided")      # shipped with the package: guided, 256 px
    trained = load_trained("demo")        # shipped with the package: the paper's form, 128 px
    trained = load_trained("runs/mine")   # a run of meta_train: its best snapshot, or its newest
    trained = load_trained("runs/mine/checkpoints/step-00004000")   # one snapshot of a run
    save_trained(trained, "folder")       # config.json + weights.npz + provenance.json

The shipped form holds E, G (with P), V, w_0 and b, which is enough to make an avatar of a new
person in every mode. Spectral vectors are not stored; they are computed when the weights are read.
"""

import dataclasses
import json
import os
import pathlib
from dataclasses import dataclass, field

import numpy as np

from tf_talkinghead.config import Config, ConfigError, PreparationConfig, from_json, to_json
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import ArrayFile, file_sha256, read_json, write_atomically
from tf_talkinghead.models.discriminator import RealismNetwork
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generator import Generator
from tf_talkinghead.models.generators import make_generator
from tf_talkinghead.models.guided import GuidedGenerator
from tf_talkinghead.models.layers import converge_spectral_norms
from tf_talkinghead.training.checkpoints import Checkpoints
from tf_talkinghead.weights.identity import SHIPPED


@dataclass
class Trained:
    """Meta-learned networks, built, with converged spectral norms.

    Attributes:
      config: the Config of the run that trained them.
      embedder, generator: E and G with P; the moving averages unless loaded with averaged=False.
      V: the network of D.
      w_0: float32 [N].
      b: scalar.
      provenance: run, step, people and preparation, as far as known.
    """

    config: Config
    embedder: Embedder
    generator: Generator | GuidedGenerator
    V: RealismNetwork
    w_0: np.ndarray
    b: float
    provenance: dict = field(default_factory=dict)

    @property
    def preparation(self) -> PreparationConfig:
        """Preparation settings of the training data; a new person's images are cropped by them.

        Settings that are not stored with the weights (runs of version 0.1, the demo weights) have
        their defaults.
        """
        stored = self.provenance.get("preparation", {})
        known = {item.name for item in dataclasses.fields(PreparationConfig)}
        return PreparationConfig(**{name: v for name, v in stored.items() if name in known})


def load_trained(source="demo", averaged=True, dtype=None):
    """Loads trained weights.

    Args:
      source: "guided", "demo", a run of meta_train or one of its snapshots, or a folder of
        `save_trained`.
      averaged: whether E and G are the moving averages (a run directory holds both).
      dtype: Keras policy of the networks, float32 by default.

    Returns:
      A `Trained`.

    Raises:
      InputError: the folder has no weights, or they are damaged or of another version; the message
        says what to do.
    """
    folder = SHIPPED.get(str(source), pathlib.Path(source))
    step = None
    if folder.parent.name == "checkpoints" and folder.name.startswith("step-"):
        folder, step = folder.parent.parent, _step_of(folder)
    if not (folder / "config.json").is_file():
        remedy = "this package came without these weights; " if str(source) in SHIPPED else ""
        raise InputError(
            f"{folder}: no trained weights (no config.json). {remedy}"
            "Run `python -m scripts.meta_train --run_dir=DIR`"
        )
    try:
        config = from_json((folder / "config.json").read_bytes())
    except ConfigError as error:
        raise InputError(
            f"{folder}/config.json: {error}; these weights are of another version of this project"
        ) from error
    if (folder / "weights.npz").is_file():
        arrays, provenance = _read_shipped(folder)
    else:
        arrays, provenance = _read_run(folder, averaged, step)
    trained = empty(config, dtype or "float32")
    for name, network in (("E", trained.embedder), ("G", trained.generator), ("V", trained.V)):
        of_network = {
            key.removeprefix(f"{name}/"): value
            for key, value in arrays.items()
            if key.startswith(f"{name}/")
        }
        _fill(network, of_network, folder, name)
        converge_spectral_norms(network)
    trained.w_0, trained.b = np.float32(arrays["D/w_0"]), float(arrays["D/b"])
    trained.provenance = provenance
    return trained


def save_trained(trained, folder, dtype="float16"):
    """Writes `trained` to `folder` in the shipped form.

    Each file is replaced in one rename, the weights first.

    Args:
      trained: the weights.
      folder: where to write; created if missing.
      dtype: of the stored numbers.

    Returns:
      The folder's path.

    Raises:
      InputError: values that do not fit `dtype`.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"D/w_0": np.asarray(trained.w_0), "D/b": np.asarray(trained.b)}
    for name, network in (("E", trained.embedder), ("G", trained.generator), ("V", trained.V)):
        for key, variable in _stored(network).items():
            arrays[f"{name}/{key}"] = variable.numpy()
    # An overflow is reported by the error below.
    with np.errstate(over="ignore"):
        large = [
            name for name, array in arrays.items() if not np.all(np.isfinite(array.astype(dtype)))
        ]
    if large:
        raise InputError(
            f"{large[0]}: values do not fit {dtype} (too large, or not finite); use float32"
        )
    beside = folder / f".weights.{os.getpid()}.npz"
    np.savez_compressed(beside, **{name: array.astype(dtype) for name, array in arrays.items()})
    provenance = {**trained.provenance, "sha256": file_sha256(beside), "dtype": dtype}
    os.replace(beside, folder / "weights.npz")
    write_atomically(folder / "provenance.json", (json.dumps(provenance, indent=2) + "\n").encode())
    write_atomically(folder / "config.json", (to_json(trained.config)).encode())
    return folder


def empty(config, dtype="float32"):
    """A `Trained` with freshly initialised networks."""
    E, V = Embedder(config.model, dtype=dtype), RealismNetwork(config.model, dtype=dtype)
    E.build()
    V.build()
    G = make_generator(config.model, dtype=dtype)
    return Trained(config, E, G, V, w_0=np.zeros(config.model.embedding_size, np.float32), b=0.0)


def _stored(network):
    """Name -> variable of all variables except spectral vectors, in building order."""
    return {
        f"{i:03d}.{variable.name}": variable
        for i, variable in enumerate(network.variables)
        if variable.name != "u"
    }


def _read_shipped(folder):
    try:
        provenance = read_json(folder / "provenance.json")
        digest = file_sha256(folder / "weights.npz")
        if digest != provenance.get("sha256"):
            stored = str(provenance.get("sha256"))
            raise InputError(
                f"{folder}/weights.npz: damaged (sha256 {digest[:12]}..., "
                f"provenance.json says {stored[:12]}...)"
            )
        with ArrayFile(folder / "weights.npz") as stored:
            return {name: np.float32(stored[name]) for name in stored.names}, provenance
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: damaged weights ({error})") from error


def _read_run(folder, averaged, step=None):
    """Arrays and provenance of a run's snapshot `step`.

    By default its best snapshot, or its newest where none has a score.
    """
    checkpoints = Checkpoints(folder / "checkpoints")
    step = checkpoints.best()[0] if step is None else step
    if step is not None and step in checkpoints.steps():
        arrays, manifest = checkpoints.load(step)
    else:
        arrays, manifest = checkpoints.load_newest(repair=False)
    if arrays is None:
        raise InputError(
            f"{folder}/checkpoints: no snapshot yet. "
            f"Run `python -m scripts.meta_train --run_dir={folder}` until its first checkpoint"
        )
    suffix = "_averaged" if averaged else ""
    names = {f"E{suffix}": "E", f"G{suffix}": "G", "V": "V"}
    chosen = {"D/w_0": arrays["D/w_0"], "D/b": arrays["D/b"]}
    for name, array in arrays.items():
        network, _, key = name.partition("/")
        if network in names and not key.endswith(".u"):
            chosen[f"{names[network]}/{key}"] = array
    provenance = {
        "run": folder.name,
        "step": manifest["step"],
        "scores": manifest["scores"],
        "averaged": averaged,
        "sha256": manifest["sha256"],
    }
    if (folder / "run.json").is_file():
        try:
            record = read_json(folder / "run.json")
            provenance.update(
                identities=record["identities"],
                held_out=record["held_out"],
                dataset=pathlib.Path(record["data"]).name,
                preparation=dict(record.get("preparation", {})),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder}/run.json: damaged ({error}); put the file back") from error
    return chosen, provenance


def _step_of(snapshot):
    """The step of a snapshot's folder; InputError if there is no such snapshot."""
    steps = {f"step-{step:08d}": step for step in Checkpoints(snapshot.parent).steps()}
    if snapshot.name not in steps:
        raise InputError(f"{snapshot}: no such snapshot; there are {', '.join(steps) or 'none'}")
    return steps[snapshot.name]


def _fill(network, arrays, folder, name):
    variables = _stored(network)
    if variables.keys() != arrays.keys():
        differing = sorted(variables.keys() ^ arrays.keys())[:3]
        raise InputError(
            f"{folder}: weights of another network than its config.json describes "
            f"({name}: {differing})"
        )
    for key, variable in variables.items():
        if tuple(variable.shape) != arrays[key].shape:
            raise InputError(
                f"{folder}: {name}/{key} is {list(arrays[key].shape)}, "
                f"config.json describes {list(variable.shape)}"
            )
        variable.assign(arrays[key])
