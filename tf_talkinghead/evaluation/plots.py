"""Curves of an evaluation: figures against T, and against fine-tuning steps."""

import numpy as np

from tf_talkinghead.evaluation.results import SELF, split_label

SHOWN = {"ssim": "SSIM", "l1": "L1", "csim": "CSIM", "landmark_error": "landmark error"}
_MOST = 4  # plots side by side


def against_shots(summary, output):
    """Draws means over people against T, one line per method.

    Args:
      summary: list of SummaryRow.
      output: folder.

    Returns:
      The picture's name; None where there is only one T.
    """
    rows = [row for row in summary if row.protocol == SELF and row.T]
    shots = sorted({row.T for row in rows})
    if len(shots) < 2:
        return None
    figure, axes = _figure(len(SHOWN))
    for axis, (name, title) in zip(axes, SHOWN.items(), strict=True):
        for method in dict.fromkeys(row.method for row in rows):
            of_method = [row for row in rows if row.method == method]
            points = [(row.T, getattr(row, name)) for row in of_method]
            points = [point for point in points if point[1] is not None]
            if points:
                axis.plot(*zip(*points, strict=True), "o-", label=method)
        axis.set(title=title, xlabel="T", xscale="log")
        axis.set_xticks(shots, [str(T) for T in shots], minor=False)
        axis.minorticks_off()
    axes[0].legend()
    return _save(figure, output, "curves_T.png")


def against_steps(people, output):
    """Draws the figures evaluated during fine-tuning, means over people, against the step.

    Args:
      people: list of PersonResult.
      output: folder.

    Returns:
      The picture's name; None where no method has a history.
    """
    courses = _courses(people)
    names = list(courses)[:_MOST]
    if not names:
        return None
    figure, axes = _figure(len(names))
    for axis, name in zip(axes, names, strict=True):
        for label, course in sorted(courses[name].items()):
            method, T = split_label(label)
            steps = sorted(course)
            means = [np.mean(course[step]) for step in steps]
            axis.plot(steps, means, ".-", label=f"{method}, T = {T}")
        axis.set(title=name.replace("_", " "), xlabel="steps")
    axes[0].legend()
    figure.suptitle(
        "during fine-tuning: on a held-out image, "
        "or on the training images where there are too few to hold one out"
    )
    return _save(figure, output, "curves_steps.png")


def _courses(people):
    """{figure: {label: {step: values of the people}}} of the histories."""
    courses = {}
    for person in people:
        for label, history in person.history.items():
            for entry in history:
                for name, value in entry.items():
                    if name == "step" or type(value) not in (int, float) or not np.isfinite(value):
                        continue
                    course = courses.setdefault(name, {}).setdefault(label, {})
                    course.setdefault(entry["step"], []).append(value)
    return courses


def _figure(count):
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(4 * count, 3.4), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def _save(figure, output, name):
    figure.savefig(output / name, dpi=100)
    return name
