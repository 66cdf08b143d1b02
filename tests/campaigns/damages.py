"""Damages files and runs the commands that read them: one line of error, or the right picture."""

import pathlib
import random
import shutil

FLIPS = 4  # damages of a file by one flipped bit


def cases(server, made, folder, seed):
    """[(name, number, function)]; a function damages one file once and returns {"wrong", ...}."""
    made, place = pathlib.Path(made), folder / "damaged"
    feed_forward = lambda weights, models: [
        "personalize",
        [f"--weights={weights}", "--person=zoe", "--mode=feed_forward",
         f"--images={made / 'photo.png'}", f"--models={models}"],
    ]  # fmt: skip
    # What is damaged: (its folder among the inputs, damaged folder -> [script, arguments] or None)
    readers = {
        "records": ("data", lambda at: _training(at, place / "run")),
        "avatar": ("models/.work/ann", lambda at: _export(place / "models")),
        "version": ("models/ann/1", lambda at: None),
        "bank": ("models/bank/2", lambda at: None),
        "weights": ("weights", lambda at: feed_forward(at, place / "models")),
        "checkpoint": ("run", lambda at: feed_forward(at, place / "models")),
    }
    listed = []
    for what, (source, arguments) in readers.items():
        if not (made / source).exists():
            _train(server, made, folder)
        for path in _files(made / source):
            for number in range(3 + FLIPS):
                listed.append(
                    (
                        f"damaged {what} {path}",
                        number,
                        lambda w=what, s=source, p=path, n=number, a=arguments: _case(
                            server, made, place, w, s, p, n, a, seed
                        ),
                    )
                )
    return listed


def damage(path, number, seed):
    """Truncates `path` (number 0: to nothing, 1: to half, 2: by a byte) or flips a bit of it."""
    data = bytearray(path.read_bytes())
    if number < 3:
        path.write_bytes(data[: (0, len(data) // 2, max(0, len(data) - 1))[number]])
        return ("emptied", "halved", "one byte short")[number]
    bit = random.Random(f"{seed} {path.name} {number}").randrange(8 * max(1, len(data)))
    if data:
        data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return f"bit {bit}"


def _case(server, made, place, what, source, path, number, arguments, seed):
    from tests.campaigns.breaks import one_line

    shutil.rmtree(place, ignore_errors=True)
    inside = source.startswith("models/")
    shutil.copytree(made / "models", place / "models", symlinks=True)
    target = place / source
    if not inside:
        shutil.copytree(made / source, target, symlinks=True)
    how = damage(target / path, number, seed)
    output, wrong = place.parent / "damaged-output", ""
    command = arguments(target)
    said = ""
    if command:
        job = server.run("tests.campaigns.jobs:script", command, output)
        wrong = one_line(job)
        said = (job.stderr.strip().splitlines() or [""])[-1][:200]
        if wrong or job.code or what == "records":
            return {"how": how, "said": said, "wrong": wrong}
    expected = made / ("zoe-run.npz" if what == "checkpoint" else "zoe.npz")
    if what in ("weights", "checkpoint") and not expected.exists():
        _expect(server, made, place.parent / "undamaged", source, arguments, expected)
    if what not in ("weights", "checkpoint"):
        expected = made / "expected.npz"
    call = "tests.campaigns.jobs:check_damaged"
    job = server.run(call, [str(place / "models"), str(expected)], output)
    wrong = job.stdout.strip() or (f"{job.code}: {job.stderr[-800:]}" if job.code else "")
    return {"how": how, "said": said, "wrong": wrong}


def _files(folder):
    """Files below `folder` that hold something, as relative paths."""
    names = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)
    skipped = ("events", "grids", "preview", "checkpoints/step-00000002")
    relative = [path.relative_to(folder) for path in names]
    return [path for path in relative if not str(path).startswith(skipped)]


def _training(data, run):
    return [
        "meta_train",
        [f"--data={data}", f"--run_dir={run}", "--preset=tiny", "--steps=2", "--holdout_people=1"],
    ]


def _export(models):
    return ["export", [f"--models={models}", "--person=ann"]]


def _train(server, made, folder):
    """The run whose checkpoints are damaged."""
    command = [
        "meta_train",
        [f"--data={made / 'data'}", f"--run_dir={made / 'run'}", "--preset=tiny", "--steps=4",
         "--checkpoint_every=2", "--holdout_people=1", "--set=meta.evaluate_every=4"],
    ]  # fmt: skip
    job = server.run("tests.campaigns.jobs:script", command, folder / "damaged-output")
    if job.code:
        raise RuntimeError(job.stderr)


def _expect(server, made, place, source, arguments, expected):
    """The picture of zoe with undamaged weights, into the file `expected`."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made / source, place / source)
    command = arguments(place / source)
    models = place / "models"
    command[1][-1] = f"--models={models}"
    output = place.parent / "damaged-output"
    for call, given in (
        ("script", command),
        ("expect", [str(models), str(expected), str(made / "expected.npz")]),
    ):
        job = server.run(f"tests.campaigns.jobs:{call}", given, output)
        if job.code:
            raise RuntimeError(job.stderr)
