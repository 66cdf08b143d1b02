"""Curves of an evaluation: quality against T, and against the steps of learning a person."""

import numpy as np

SHOWN = {"ssim": "SSIM", "l1": "L1", "csim": "CSIM", "landmark_error": "landmark error"}


def against_shots(summary, output):
    """Means over people against T, one line a method; the picture's name, None where there is only one T."""
    rows = [row for row in summary if row["protocol"] == "self" and row["T"]]
    if len({row["T"] for row in rows}) < 2:
        return None
    figure, axes = _figure(len(SHOWN))
    for axis, (name, title) in zip(axes, SHOWN.items(), strict=True):
        for method in dict.fromkeys(row["method"] for row in rows):
            points = [
                (row["T"], row[name])
                for row in rows
                if row["method"] == method and row.get(name) is not None
            ]
            if points:
                axis.plot(*zip(*points, strict=True), "o-", label=method)
        axis.set(title=title, xlabel="T", xscale="log")
        axis.set_xticks(
            sorted({row["T"] for row in rows}),
            [str(T) for T in sorted({row["T"] for row in rows})],
            minor=False,
        )
        axis.minorticks_off()
    axes[0].legend()
    return _save(figure, output, "curves_T.png")


def against_steps(results, output):
    """Looks at the held-out image while learning, mean over people per step; the picture's name, None without any."""
    courses = {}
    for result in results:
        for label, history in result.get("history", {}).items():
            for look in history:
                for name, value in look.items():
                    if (
                        name not in ("step", "steps")
                        and type(value) in (int, float)
                        and np.isfinite(value)
                    ):
                        step = look.get("step", look.get("steps"))
                        courses.setdefault(name, {}).setdefault(label, {}).setdefault(
                            step, []
                        ).append(value)
    names = [
        name
        for name in courses
        if None not in {step for course in courses[name].values() for step in course}
    ][:4]
    if not names:
        return None
    figure, axes = _figure(len(names))
    for axis, name in zip(axes, names, strict=True):
        for label, course in sorted(courses[name].items()):
            steps = sorted(course)
            method, _, T = label.rpartition("_")
            axis.plot(
                steps, [np.mean(course[step]) for step in steps], ".-", label=f"{method}, T = {T}"
            )
        axis.set(title=name.replace("_", " "), xlabel="steps")
    axes[0].legend()
    figure.suptitle(
        "looks while learning: at an image held out, or at those learned from where there are too few to hold one out"
    )
    return _save(figure, output, "curves_steps.png")


def _figure(count):
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(4 * count, 3.4), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def _save(figure, output, name):
    figure.savefig(output / name, dpi=100)
    return name
