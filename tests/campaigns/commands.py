"""The commands of the faults campaign, on preset `tiny`: how each starts and what it may leave.

`commands(made)` returns all of them, on the inputs that `made_inputs.make` wrote.
"""

import json
import pathlib
import re
import shutil

from tests.campaigns.kills import Command
from tf_talkinghead.export import store
from tf_talkinghead.export.bank_files import read_members
from tf_talkinghead.files import file_sha256

STEPS = 6  # of meta_train, with a snapshot every second
PERSON_STEPS = 6


def commands(made):
    """{name: Command} on the inputs in the folder `made`."""
    made = pathlib.Path(made)
    models = lambda folder: f"--models={folder / 'models'}"
    script = "tests.campaigns.jobs:script"
    with_models = lambda folder: shutil.copytree(made / "models", folder / "models", symlinks=True)
    listed = [
        Command(
            "prepare_dataset",
            lambda folder: (folder / "out").mkdir(),
            script,
            lambda folder: [
                "prepare_dataset",
                [
                    f"--input={made / 'footage'}", f"--output={folder / 'out'}", "--workers=1",
                    "--size=48", "--max_frames=4", "--clips_per_shard=2",
                ],
            ],
            _Dataset(made),
        ),
        Command(
            "meta_train",
            lambda folder: (folder / "run").mkdir(),
            script,
            lambda folder: [
                "meta_train",
                [
                    f"--data={made / 'data'}", f"--run_dir={folder / 'run'}", "--preset=tiny",
                    "--deterministic", "--holdout_people=1", f"--steps={STEPS}",
                    "--checkpoint_every=2",
                ],
            ],
            _Run(made),
            on_again=lambda folder: _no_step_again(folder / "run" / "checkpoints"),
        ),
        Command(
            "personalize",
            lambda folder: (folder / "models").mkdir(),
            script,
            lambda folder: [
                "personalize",
                [
                    f"--weights={made / 'weights'}", "--person=ann", f"--steps={PERSON_STEPS}",
                    f"--images={made / 'photo.png'}", models(folder),
                ],
            ],
            _check_person,
            on_again=lambda folder: _no_step_again(folder / "models/.work/ann/training"),
        ),
        Command(
            "export",
            with_models,
            script,
            lambda folder: ["export", [models(folder), "--person=ann"]],
            _Models(made, {"ann": [1, 2], "bob": [1], "bank": [1, 2]}, "ann"),
        ),
        Command(
            "bank",
            with_models,
            script,
            lambda folder: ["export", [models(folder), "--bank", f"--weights={made / 'weights'}"]],
            _Models(made, {"ann": [1], "bob": [1], "bank": [1, 2, 3]}, "bank"),
        ),
        Command(
            "delete",
            with_models,
            script,
            lambda folder: ["export", [models(folder), "--delete=ann"]],
            _check_deleted(made),
            refused=("nobody of that name",),
        ),
    ]  # fmt: skip
    return {command.name: command for command in listed}


def _answer(server, folder, call, *arguments):
    """Runs the check `call` of jobs.py in a fork; returns what it printed, or its traceback."""
    output = folder.parent / f"{folder.name}-check"
    job = server.run(f"tests.campaigns.jobs:{call}", [str(each) for each in arguments], output)
    return (job.stdout + (job.stderr if job.code else "")).strip()[-1500:]


def _hidden(folder, *patterns):
    """Names below `folder` of files that no process may leave at its end."""
    return sorted(str(path.relative_to(folder)) for one in patterns for path in folder.rglob(one))


class _Dataset:
    """Check of prepare_dataset: dataset.json comes last; the files equal those of the first run."""

    def __init__(self, made):
        self._digests = made / "dataset.digests.json"

    def __call__(self, server, folder, done):
        out = folder / "out"
        if (out / "dataset.json").exists():
            wrong = _answer(server, folder, "check_dataset", out)
            if wrong:
                return wrong
        elif done:
            return "no dataset.json"
        if not done:
            return ""
        left = [path.name for path in out.iterdir() if path.name.startswith(".")]
        if left:
            return f"remains {left}"
        digests = {path.name: file_sha256(path) for path in sorted(out.iterdir())}
        if not self._digests.exists():
            self._digests.write_text(json.dumps(digests))
        return "" if json.loads(self._digests.read_text()) == digests else "other files"


class _Run:
    """Check of meta_train: the newest snapshot loads; the last equals the first run's bitwise."""

    def __init__(self, made):
        self._digest = made / "run.digest"

    def __call__(self, server, folder, done):
        checkpoints = folder / "run" / "checkpoints"
        wrong = _answer(server, folder, "check_snapshots", folder / "run")
        if wrong or not done:
            return wrong
        left = _hidden(checkpoints, ".step-*", "damaged-*")
        if left:
            return f"remains {left}"
        try:
            digest = json.loads((checkpoints / f"step-{STEPS:08d}/manifest.json").read_text())
        except OSError as error:
            return str(error)
        if not self._digest.exists():
            self._digest.write_text(digest["sha256"])
        return "" if self._digest.read_text() == digest["sha256"] else "another final state"


def _no_step_again(checkpoints):
    """Returns a check that the repeated command writes no step again that has a snapshot."""
    there = [int(path.name[5:]) for path in checkpoints.glob("step-*")]
    newest = max(there, default=0)

    def after(changes):
        written = {
            int(found[1])
            for change in changes
            if (found := re.search(r"/\.step-0*(\d+)[.]\d+$", change.path))
        }
        again = [step for step in written if step <= newest]
        return f"steps {again} again, though {newest} was there" if again else ""

    return after


def _versions(models):
    names = [path.name for path in models.iterdir() if path.is_dir() and path.name[0] != "."]
    return {name: found for name in names if (found := store.versions(models, name))}


def _check_person(server, folder, done):
    models = folder / "models"
    found = _versions(models)
    if found not in ({}, {"ann": [1]}, *([{"ann": [1, 2]}] if done else [])):
        return f"versions {found}"
    left = _hidden(models, ".publishing-*", ".deleted-*")
    if done and (left or not found):
        return f"versions {found}, remains {left}"
    for version in found.get("ann", []):
        card = json.loads((models / "ann" / str(version) / "card.json").read_text())
        if card["steps"] != PERSON_STEPS:
            return f"version {version} of {card['steps']} steps"
    none = folder.parent / "none.npz"
    if not none.exists():
        import numpy as np

        np.savez(none)
    return _answer(server, folder, "check_models", models, none)


class _Models:
    """Check of export: versions as before or after it, right pictures, no remains at the end."""

    def __init__(self, made, after, changed):
        self._made, self._after, self._changed = made, after, changed

    def __call__(self, server, folder, done):
        models, found = folder / "models", _versions(folder / "models")
        before = {**self._after, self._changed: self._after[self._changed][:-1]}
        # A command that was killed after its rename publishes once more when it is repeated.
        twice = {
            **self._after,
            self._changed: [*self._after[self._changed], self._after[self._changed][-1] + 1],
        }
        if found not in ((self._after, twice) if done else (before, self._after)):
            return f"versions {found}"
        left = _hidden(models, ".publishing-*", ".deleted-*")
        if done and left:
            return f"remains {left}"
        return _answer(server, folder, "check_models", models, self._made / "expected.npz")


def _check_deleted(made):
    """Returns the check of delete: ann's versions go at once; at the end nothing has her name."""

    def check(server, folder, done):
        models = folder / "models"
        found = _versions(models)
        allowed = [{"bob": [1], "bank": [1, 2]}]
        if not done:
            allowed.append({"ann": [1], "bob": [1], "bank": [1, 2]})
        if found not in allowed:
            return f"versions {found}"
        if done:
            left = _hidden(models, "ann*", ".vectors.npz-*", ".publishing-*", ".deleted-*")
            if left or '"ann"' in (models / store.CONFIG_FILE).read_text():
                return f"ann is left in {left or store.CONFIG_FILE}"
            for path in models.rglob("vectors.npz"):
                if "ann" in read_members(path).vectors or b"ann" in path.read_bytes():
                    return f"ann is left in {path}"
        return _answer(server, folder, "check_models", models, made / "expected.npz")

    return check
