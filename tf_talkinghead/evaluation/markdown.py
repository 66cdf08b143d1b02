"""`report.md`: tables and explanations of a Report."""

from tf_talkinghead.evaluation.fid import INCEPTION_FEATURES
from tf_talkinghead.evaluation.methods import ALL
from tf_talkinghead.evaluation.results import SELF
from tf_talkinghead.evaluation.summary import leading

# Column -> (heading, decimals; None for texts). Likeness: to the true frame, and to the person.
LIKENESS = {
    "ssim": ("SSIM", 3),
    "ssim_face": ("SSIM face", 3),
    "psnr": ("PSNR", 1),
    "l1": ("L1", 4),
    "l1_face": ("L1 face", 4),
    "sharpness": ("sharpness", 2),
    "detail": ("detail", 2),
    "lpips": ("LPIPS", 3),
    "csim": ("CSIM", 3),
    "face_distance": ("distance", 3),
    "same_person": ("< 0.6", 2),
    "rank_1": ("rank-1", 2),
    "beats_nearest": ("beats nearest", None),
}
MOTION = {
    "landmark_error": ("landmark error", 4),
    "faces_found": ("faces found", 2),
    "blink": ("blink", 2),
    "mouth": ("mouth", 2),
    "jitter": ("jitter", 4),
    "flicker": ("flicker", 4),
    "learn_seconds": ("seconds to learn", 1),
}
_IDENTITY = ("csim", "face_distance", "same_person", "rank_1")  # by the face network
CROSS = {
    "adapt": ("adapt", None),
    "pairs": ("pairs", 0),
    **{name: LIKENESS[name] for name in _IDENTITY},
    **{name: MOTION[name] for name in ("landmark_error", "faces_found", "blink", "mouth")},
    "csim_wins": ("CSIM wins", None),
    "landmark_wins": ("landmark wins", None),
}
_DISTANCES = ("fid", 2), ("kid", 4), ("face_frechet", 4), ("face_kernel", 5)
_LEGEND = """\
SSIM: Gaussian window of 11x11, sigma 1.5, RGB, range 255. "face": only inside the hull of the
landmarks, grown by 10 %. L1: share of full range. sharpness: mean image gradient divided by that of
the true frame; noise raises it. detail: correlation with the true frame of the fine detail, which a
Gaussian blur of 1/128 of the side removes; noise lowers it. LPIPS: learned distance, by the file
named above; low is like. CSIM: cosine of the face vectors of
result and true frame, after subtracting a fixed mean over many people; 0 for strangers. distance:
between these vectors, by dlib; below 0.6 is the same person. rank-1: share of frames whose nearest
person in the gallery is the right one. beats nearest: people whose SSIM is above that of the
nearest of the T images. landmark error: distance between the landmarks found on the result and
those of the true frame, a share of the eye distance. blink, mouth: agreement (Lin's concordance) of
eye and mouth opening. jitter: motion of the found landmarks that the driving landmarks do not have.
flicker: change of the error from frame to frame inside the face. The row "truth" has the figures of
the true frames, measured like any result: they show the detector's own error; CSIM, distance and
rank-1 compare them with the person's T images."""
_CROSS_LEGEND = """\
There are no true frames: CSIM compares with the person's T images, landmark error and agreement
with the driving landmarks. adapt: "relative" applies the driver's motion to the avatar's face
shape, "none" drives with the driver's own landmarks. wins: pairs of avatar and driver for which
adaptation has the higher CSIM, or the lower landmark error."""


def markdown(report):
    """The text of `report.md`."""
    done = [person for person in report.people if len(person.results) > 1]
    own = [row for row in report.summary if row.protocol == SELF]
    cross = [row for row in report.summary if row.protocol != SELF]
    # Each method with adaptation, then without.
    cross.sort(key=lambda row: (row.T, ALL.index(row.method)))
    marked = report.about.face_network_in_loss
    lines = ["# Evaluation", "", *_about(report.about, done), "", "## Likeness", ""]
    lines += [*_table(own, LIKENESS, marked), "", "## Motion", "", *_table(own, MOTION)]
    lines += ["", _LEGEND, ""]
    if marked:
        lines += [
            "\\* CSIM, distance and rank-1 are measured by the network that was also a training "
            f"loss of these weights ({marked}): they flatter the model, not the baselines.",
            "",
        ]
    lines += ["## Sets of frames", "", *_sets(report), ""]
    if cross:
        lines += ["## Driven by another person", "", _CROSS_LEGEND, ""]
        lines += [*_table(cross, CROSS, marked), ""]
    lines += _people(report)
    if report.problems:
        problems = [f"- {item.person}: {item.problem}" for item in report.problems]
        lines += ["## Problems", "", *problems, ""]
    lines += [*_frames_used(done), ""]
    return "\n".join(lines)


def _about(about, done):
    lines = [f"{len(done)} people, {about.size or '?'} px."]
    named = "weights", "data", "command", "embedding", "inception", "lpips", "gallery", "step"
    for name in (*named, "sha256", "people_trained_on"):
        if getattr(about, name) is not None:
            lines.append(f"- {name.replace('_', ' ')}: {getattr(about, name)}")
    return lines


def _table(rows, columns, marked=None):
    """Lines of a table; columns that no row has are left out.

    With `marked`, a star marks the headings of figures that are measured by the face network.
    """
    used = [name for name in columns if any(getattr(row, name, None) is not None for row in rows)]
    headings = [columns[name][0] + ("*" if marked and name in _IDENTITY else "") for name in used]
    lines = [_line(["T", "method", "people", *headings]), "|---" * (3 + len(used)) + "|"]
    for row in rows:
        cells = [_cell(getattr(row, name, None), columns[name][1]) for name in used]
        lines.append(_line([row.T or "", row.method, row.people, *cells]))
    return lines


def _sets(report):
    rows = report.set_distances
    if any(row.kid is not None for row in rows):
        said = (
            "FID and KID by keras.applications' InceptionV3 (compare only with figures made by it)."
        )
    else:
        said = f"No FID or KID: {report.about.inception or 'InceptionV3 weights were not given'}."
    headings = ["T", "method", "n", "FID", "KID", "face Frechet", "face kernel"]
    lines = [said, ""]
    lines += [
        "face: Frechet and kernel distance of dlib's 128 face features; "
        "a Frechet distance needs as many frames as features.",
        "",
        _line(headings),
        "|---" * len(headings) + "|",
    ]
    for row in rows:
        cells = [_cell(getattr(row, name), decimals) for name, decimals in _DISTANCES]
        if row.kid is not None and row.fid is None:
            cells[0] = f"(n < {INCEPTION_FEATURES})"
        lines.append(_line([row.T, row.method, row.n, *cells]))
    return lines


def _people(report):
    """A table of one line per person by `summary.leading`'s method, worst first; then curves."""
    method, T = leading(report.results)
    found = [(person, person.own_row(method, T)) for person in report.people]
    found = [(person, row) for person, row in found if row]
    headings = ["person", "SSIM", "SSIM of nearest", "L1", "CSIM", "landmark error", "sheet"]
    lines = [f"## People, worst first ({method}, T = {T})", "", _line(headings)]
    lines.append("|---" * len(headings) + "|")
    for person, row in sorted(found, key=lambda item: item[1].ssim):
        nearest = person.own_row("nearest", T)
        figures = [
            (row.ssim, 3),
            (nearest and nearest.ssim, 3),
            (row.l1, 4),
            (row.csim, 3),
            (row.landmark_error, 4),
        ]
        cells = [_cell(value, decimals) for value, decimals in figures]
        sheet = f"[sheet]({report.pictures.sheets[person.person]})"
        lines.append(_line([person.person, *cells, sheet]))
    pictures = (report.pictures.worst, report.pictures.curves, report.pictures.steps)
    return [*lines, "", *(f"![]({name})\n" for name in pictures if name)]


def _frames_used(done):
    lines = ["## Frames used", ""]
    lines += ["Numbers within the clip: learned from (the first T of them), then scored.", ""]
    for person in done:
        learn, holdout = (" ".join(map(str, one)) for one in (person.learn, person.holdout))
        of_clip = f"{person.person}, {person.clip} ({person.frames} frames)"
        lines.append(f"- {of_clip}: learn {learn}; score {holdout}")
    return lines


def _line(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def _cell(value, decimals):
    if value is None:
        return ""
    return value if decimals is None else f"{value:.{decimals}f}"
