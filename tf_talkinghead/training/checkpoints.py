"""Snapshots (checkpoints) of a run: written atomically, checked when read; last N and best kept.

    <run>/checkpoints/step-00000250/state.npz      every state variable, unconverted
                                    manifest.json  schema, step, scores, sha256 of state.npz
    <run>/checkpoints/best.json                    {"step": ..., "scores": {...}}

A snapshot is a plain mapping name -> array, so this module does not depend on networks. A folder is
a snapshot only under its final name, which it gets by a rename after everything in it was flushed
to disk: a process killed at any moment leaves the earlier snapshots untouched. Snapshots of schema
1 are read too (checkpoint_upgrade.py).
"""

import json
import os
import pathlib
import shutil
import sys

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.files import ArrayFile, file_sha256, flush, fsync, read_json
from tf_talkinghead.training.checkpoint_upgrade import upgraded

SCHEMA = 2


class Checkpoints:
    """The snapshots under `folder`; `prune` keeps the `keep` newest and the best."""

    def __init__(self, folder, keep=3):
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def steps(self):
        """Steps of the snapshots on disk, ascending (damaged ones included)."""
        names = self.folder.glob("step-*") if self.folder.is_dir() else ()
        return sorted(int(path.name[5:]) for path in names if path.name[5:].isdigit())

    def path(self, step):
        """Folder of the snapshot of `step`."""
        return self.folder / f"step-{step:08d}"

    def save(self, step, arrays, scores=None):
        """Writes `arrays` (name -> numpy array), flushed to disk, and returns the folder.

        Raises:
          InputError: the disk is full or cannot be written; the earlier snapshots are unchanged.
        """
        beside = self.folder / f".step-{step:08d}.{os.getpid()}"
        try:
            return self._save(step, arrays, scores, beside)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)  # frees the space that it took
            raise InputError(
                f"{self.path(step)}: cannot be written ({error.strerror or error}); make room: the "
                "same command continues from the snapshot before it"
            ) from error

    def _save(self, step, arrays, scores, beside):
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear_leftovers()
        beside.mkdir()
        with open(beside / "state.npz", "wb") as file:
            np.savez(file, **arrays)
            flush(file)
        manifest = {
            "schema": SCHEMA,
            "step": step,
            "scores": scores or {},
            "sha256": file_sha256(beside / "state.npz"),
        }
        with open(beside / "manifest.json", "w") as file:
            json.dump(manifest, file, indent=2)
            flush(file)
        final = self.path(step)
        # A run resumed from an older snapshot reaches the same step again.
        if final.exists():
            shutil.rmtree(final)
        os.rename(beside, final)
        fsync(self.folder)
        return final

    def mark_best(self, step, scores):
        """Records the snapshot of `step` as the best one, in best.json."""
        beside = self.folder / f".best.{os.getpid()}"
        with open(beside, "w") as file:
            json.dump({"step": step, "scores": scores}, file)
            flush(file)
        os.replace(beside, self.folder / "best.json")

    def best(self):
        """(step, scores) of the best snapshot.

        (None, {}) where no snapshot was scored, or where the best one was moved aside as damaged.
        """
        try:
            found = read_json(self.folder / "best.json")
            step, scores = int(found["step"]), dict(found["scores"])
        except (OSError, ValueError, KeyError, TypeError):
            return None, {}
        return (step, scores) if self.path(step).is_dir() else (None, {})

    def prune(self):
        """Removes all but the newest `keep` snapshots and the best."""
        best, _ = self.best()
        for step in self.steps()[: -self.keep]:
            if step != best:
                shutil.rmtree(self.path(step))

    def load(self, step):
        """(arrays, manifest) of one snapshot.

        Raises:
          InputError: a damaged file, or another schema; the message names the file.
        """
        folder = self.path(step)
        try:
            manifest = read_json(folder / "manifest.json")
            if manifest["schema"] not in (1, SCHEMA):
                raise InputError(
                    f"{folder}: checkpoint schema {manifest['schema']}, this version reads "
                    f"1 and {SCHEMA}; use the version of this project that wrote it, or a newer one"
                )
            if file_sha256(folder / "state.npz") != manifest["sha256"]:
                raise InputError(
                    f"{folder}/state.npz: damaged (its sha256 is not the one in manifest.json)"
                )
            with ArrayFile(folder / "state.npz") as stored:
                arrays = {name: stored[name] for name in stored.names}
            return (upgraded(arrays) if manifest["schema"] == 1 else arrays), manifest
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder}: damaged checkpoint ({error})") from error

    def load_newest(self, repair=True):
        """(arrays, manifest) of the newest undamaged snapshot, (None, None) where there is none.

        A damaged snapshot is reported on stderr, and the one before it is tried. With `repair`,
        which only one process of a run may use, the damaged one is renamed to `damaged-...`.
        """
        for step in reversed(self.steps()):
            try:
                return self.load(step)
            except InputError as error:
                print(f"warning: {error}; falling back to the snapshot before it", file=sys.stderr)
                if repair:
                    aside = self.folder / f"damaged-{step:08d}"
                    shutil.rmtree(aside, ignore_errors=True)
                    os.rename(self.path(step), aside)
        return None, None

    def _clear_leftovers(self):
        """Removes unfinished snapshots of killed processes."""
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)


def snapshot(variables):
    """{name: numpy array} of `variables`, a dict name -> variable (Keras or TensorFlow)."""
    return {name: np.asarray(_raw(variable).numpy()) for name, variable in variables.items()}


def restore(variables, arrays, growing=()):
    """Assigns arrays to variables; every name and shape must match.

    Args:
      variables: name -> variable.
      arrays: name -> numpy array.
      growing: names whose first axis may be longer than stored (W and its optimizer's state, after
        a dataset grew): the stored rows are assigned, new rows keep their initial values.

    Raises:
      InputError: a name or shape does not match; the message names it.
    """
    missing = sorted(variables.keys() - arrays.keys())
    unknown = sorted(arrays.keys() - variables.keys())
    if missing or unknown:
        raise InputError(
            f"checkpoint of another network: lacks {missing[:3]}, has unknown {unknown[:3]}"
        )
    for name, variable in variables.items():
        variable, array = _raw(variable), arrays[name]
        same_columns = array.shape[1:] == tuple(variable.shape[1:])
        if name in growing and same_columns and array.shape[0] < variable.shape[0]:
            array = np.concatenate([array, variable.numpy()[array.shape[0] :]])
        if array.shape != tuple(variable.shape):
            raise InputError(
                f"checkpoint of another network: {name} is {list(array.shape)}, "
                f"expected {variable.shape.as_list()}"
            )
        variable.assign(array)


def _raw(variable):
    return (
        variable.value if hasattr(variable, "value") and not callable(variable.value) else variable
    )
