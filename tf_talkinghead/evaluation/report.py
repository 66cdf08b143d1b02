"""From the results of an evaluation to what a person reads: `report.md`, `report.json`, tables, curves and sheets.

write_report(results, output, about={...})       # results as `evaluation.evaluate` returns them
"""

import json
import os
import pathlib

import numpy as np

from tf_talkinghead.evaluation import plots, sheets
from tf_talkinghead.evaluation.cross_driving import wins
from tf_talkinghead.evaluation.fid import INCEPTION_FEATURES, SetDistance
from tf_talkinghead.evaluation.methods import ALL
from tf_talkinghead.evaluation.sheets import person_folder

REPORT_SCHEMA = 1
LOOK = {  # column -> heading, decimals: likeness to the true frame, and of whom
    "ssim": ("SSIM", 3), "ssim_face": ("SSIM face", 3), "psnr": ("PSNR", 1), "l1": ("L1", 4), "l1_face": ("L1 face", 4),
    "csim": ("CSIM", 3), "face_distance": ("distance", 3), "same_person": ("< 0.6", 2), "rank_1": ("rank-1", 2),
    "beats_nearest": ("beats nearest", None),
}  # fmt: skip
MOVE = {
    "landmark_error": ("landmark error", 4), "faces_found": ("faces found", 2), "blink": ("blink", 2), "mouth": ("mouth", 2),
    "jitter": ("jitter", 4), "flicker": ("flicker", 4), "learn_seconds": ("seconds to learn", 1),
}  # fmt: skip
CROSS = {"adapt": ("adapt", None), "pairs": ("pairs", 0)} | {
    name: (LOOK | MOVE)[name]
    for name in ("csim", "face_distance", "same_person", "rank_1", "landmark_error", "faces_found", "blink", "mouth")
} | {"csim_wins": ("CSIM wins", None), "landmark_wins": ("landmark wins", None)}  # fmt: skip
_FIGURES = (*LOOK, *MOVE)
_LEGEND = """\
SSIM: Gaussian window of 11x11, sigma 1.5, RGB, range 255. "face": inside the landmarks' hull + 10 %. L1: share of full
range. CSIM: cosine of face vectors after a fixed mean over many people is taken off (result against the true frame;
0 for strangers). distance: dlib's, below 0.6 is the same person. rank-1: share of frames whose nearest person, of all in the
gallery, is the right one. beats nearest: people whose SSIM is above that of the nearest of the T images.
landmark error: found on the result against those that drove it, a share of the eye distance. blink, mouth: agreement
(Lin's concordance) of eye and mouth opening. jitter: trembling of found landmarks beyond the driving motion. flicker: change
of the error from frame to frame inside the face. The row "truth" is what the true frames score: the floor of the detector,
and for CSIM, distance and rank-1 their likeness to the person's T images instead."""

_CROSS_LEGEND = """\
There are no true frames: CSIM is against the person's T images, landmark error and agreement against the landmarks that
drove. adapt: "relative" puts the driver's motion on the avatar's face shape, "none" drives with the driver's own points.
wins: pairs of avatar and driver for which adaptation has the higher CSIM, the lower landmark error."""


def write_report(results, output, about=None):
    """Writes everything into `output`; the report as a dict."""
    output, about = pathlib.Path(output), dict(about or {})
    report = {"schema": REPORT_SCHEMA, **about, **summarise(results, output)}
    report["results"] = [row for result in results for row in result["results"]]
    report["people"] = [
        {key: value for key, value in result.items() if key not in ("results", "key", "schema")}
        for result in results
    ]
    report["pictures"] = {
        "sheets": {
            result["person"]: sheets.person_sheet(result, output)
            for result in results
            if result["results"]
        },
        "worst": sheets.worst_sheet(results, output),
        "curves": plots.against_shots(report["summary"], output),
        "steps": plots.against_steps(results, output),
    }
    _replace(output / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    _replace(output / "report.md", markdown(report, results))
    return report


def summarise(results, output):
    """Means over people: {"summary": [one row a method, T and protocol], "set_distances": [...], "problems": [...]}."""
    rows = [row for result in results for row in result["results"]]
    groups = sorted({(row["protocol"], row["T"] or 0, row["method"]) for row in rows}, key=_order)
    summary = []
    for protocol, T, method in groups:
        members = [
            row
            for row in rows
            if (row["protocol"], row["T"] or 0, row["method"]) == (protocol, T, method)
        ]
        mean = {
            "protocol": protocol,
            "T": T or None,
            "method": method,
            "people": len({row["person"] for row in members}),
        }
        for name in _FIGURES:
            values = [row[name] for row in members if row.get(name) is not None]
            if values:
                mean[name] = round(float(np.mean(values)), 5)
        if protocol == "self" and method not in ("truth", "nearest"):
            mean["beats_nearest"] = _beats(members, rows, T)
        if protocol != "self":
            mean |= {"adapt": members[0]["adapt"], "pairs": len(members)}
        if protocol == "cross":
            mean |= wins(members, rows)
        summary.append(mean)
    problems = [
        {"person": result["person"], "problem": text}
        for result in results
        for text in result["problems"]
    ]
    return {
        "summary": summary,
        "set_distances": set_distances(results, output),
        "problems": problems,
    }


def set_distances(results, output):
    """FID and KID (where Inception's features were made) and the same on face features, per method and T."""
    pairs = {}
    for result in results:
        path = person_folder(output, result["person"]) / "features.npz"
        if not result["results"] or not path.is_file():
            continue
        with np.load(path) as stored:
            for name in stored.files:
                kind = "inception" if name.startswith("inception_") else "face"
                label = name.removeprefix("inception_")
                if label == "real":
                    continue
                real = stored["inception_real" if kind == "inception" else "real"]
                pair = pairs.setdefault((kind, label), SetDistance(real.shape[1]))
                pair.add(real, stored[name])
    rows = []
    for (kind, label), pair in pairs.items():
        method, _, T = label.rpartition("_")
        names = ("fid", "kid") if kind == "inception" else ("face_frechet", "face_kernel")
        values = dict(zip(names, (pair.frechet(), pair.kernel()), strict=True))
        rows.append(
            {"method": method, "T": int(T), "n": pair.count}
            | {k: v if v is None else round(v, 6) for k, v in values.items()}
        )
    return sorted(rows, key=lambda row: (row["T"], ALL.index(row["method"]), "kid" not in row))


def markdown(report, results):
    """The report as text."""
    self_rows = [row for row in report["summary"] if row["protocol"] == "self"]
    cross_rows = [row for row in report["summary"] if row["protocol"] != "self"]
    cross_rows.sort(
        key=lambda row: _order(("cross", row["T"], row["method"]))
    )  # each method with adaptation, then without
    done = [result for result in results if len(result["results"]) > 1]
    look, cross = (
        _starred(columns) if report.get("face_network_in_loss") else columns
        for columns in (LOOK, CROSS)
    )
    lines = [
        "# Evaluation",
        "",
        *_about(report, done),
        "",
        "## Likeness",
        "",
        *_table(self_rows, look),
        "",
        "## Motion",
        "",
    ]
    lines += [*_table(self_rows, MOVE), "", _LEGEND, ""]
    if report.get("face_network_in_loss"):
        lines += [
            f"\\* CSIM, distance and rank-1 are judged by the network that was also a training loss of these weights "
            f"({report['face_network_in_loss']}): they flatter the model, not the baselines.", "",
        ]  # fmt: skip
    lines += ["## Sets of frames", "", *_sets(report), ""]
    if cross_rows:
        lines += ["## Driven by another person", "", _CROSS_LEGEND, ""]
        lines += [*_table(cross_rows, cross), ""]
    lines += _people(report, done)
    if report["problems"]:
        lines += [
            "## Problems",
            "",
            *(f"- {item['person']}: {item['problem']}" for item in report["problems"]),
            "",
        ]
    lines += [
        "## Frames used",
        "",
        "Numbers within the clip: learned from (the first T of them), then judged.",
        "",
    ]
    for result in done:
        learn, judge = (" ".join(map(str, result[key])) for key in ("learn", "judge"))
        lines.append(
            f"- {result['person']}, {result['clip']} ({result['frames']} frames): learn {learn}; judge {judge}"
        )
    return "\n".join(lines) + "\n"


def _starred(columns):
    """The columns that the face network judges marked with a star."""
    judged = ("csim", "face_distance", "same_person", "rank_1")
    return {
        name: (f"{heading}*" if name in judged else heading, decimals)
        for name, (heading, decimals) in columns.items()
    }


def _about(report, done):
    lines = [f"{len(done)} people, {report.get('size', '?')} px."]
    for name in (
        "weights",
        "data",
        "command",
        "embedding",
        "inception",
        "gallery",
        "step",
        "sha256",
        "people_trained_on",
    ):
        if report.get(name) is not None:
            lines.append(f"- {name.replace('_', ' ')}: {report[name]}")
    return lines


def _table(rows, columns):
    """Markdown lines; columns nobody has are left out."""
    used = {
        name: look
        for name, look in columns.items()
        if any(row.get(name) is not None for row in rows)
    }
    lines = [
        "| T | method | people | " + " | ".join(heading for heading, _ in used.values()) + " |"
    ]
    lines.append("|---" * (3 + len(used)) + "|")
    for row in rows:
        cells = [_cell(row.get(name), decimals) for name, (_, decimals) in used.items()]
        lines.append(
            f"| {row['T'] or ''} | {row['method']} | {row['people']} | " + " | ".join(cells) + " |"
        )
    return lines


def _cell(value, decimals):
    return "" if value is None else value if decimals is None else f"{value:.{decimals}f}"


def _sets(report):
    rows = report["set_distances"]
    lines = []
    if not any("kid" in row for row in rows):
        lines += [
            f"No FID or KID: {report.get('inception', 'InceptionV3 weights were not given')}.",
            "",
        ]
    else:
        lines += [
            "FID and KID by keras.applications' InceptionV3 (compare only with figures made by it).",
            "",
        ]
    lines.append(
        "face: Frechet and kernel distance of dlib's 128 face features; a Frechet distance needs as many frames as features."
    )
    lines += [
        "",
        "| T | method | n | FID | KID | face Frechet | face kernel |",
        "|---|---|---|---|---|---|---|",
    ]
    merged = {}
    for row in rows:
        merged.setdefault((row["T"], row["method"]), {}).update(row)
    for (T, method), row in merged.items():
        note = f"(n < {INCEPTION_FEATURES})" if "kid" in row and row["fid"] is None else ""
        cells = [_cell(row.get("fid"), 2) or note, _cell(row.get("kid"), 4)]
        cells += [_cell(row.get("face_frechet"), 4), _cell(row.get("face_kernel"), 5)]
        lines.append(f"| {T} | {method} | {row['n']} | " + " | ".join(cells) + " |")
    return lines


def _people(report, done):
    """One line a person, the worst first by the best model method (or the warp where there is none)."""
    method, T = sheets.leading(report["results"])
    chosen = {
        row["person"]: row
        for row in report["results"]
        if (row["method"], row["T"], row["protocol"]) == (method, T, "self")
    }
    nearest = {
        row["person"]: row
        for row in report["results"]
        if (row["method"], row["T"], row["protocol"]) == ("nearest", T, "self")
    }
    lines = [
        f"## People, worst first ({method}, T = {T})",
        "",
        "| person | SSIM | SSIM of nearest | L1 | CSIM | landmark error | sheet |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for person, row in sorted(chosen.items(), key=lambda item: item[1]["ssim"]):
        cells = [
            _cell(row["ssim"], 3),
            _cell(nearest.get(person, {}).get("ssim"), 3),
            _cell(row["l1"], 4),
        ]
        cells += [
            _cell(row["csim"], 3),
            _cell(row["landmark_error"], 4),
            f"[sheet]({report['pictures']['sheets'][person]})",
        ]
        lines.append(f"| {person} | " + " | ".join(cells) + " |")
    shown = [
        report["pictures"][name]
        for name in ("worst", "curves", "steps")
        if report["pictures"][name]
    ]
    return [*lines, "", *(f"![]({name})\n" for name in shown)]


def _beats(members, rows, T):
    """ "6/8": for how many people the method's SSIM is above the nearest image's."""
    nearest = {
        row["person"]: row["ssim"]
        for row in rows
        if (row["protocol"], row["T"], row["method"]) == ("self", T, "nearest")
    }
    compared = [row for row in members if row["person"] in nearest]
    wins = sum(row["ssim"] > nearest[row["person"]] for row in compared)
    return f"{wins}/{len(compared)}" if compared else None


def _order(group):
    protocol, T, method = group
    return protocol != "self", protocol, T, ALL.index(method) if method in ALL else -1


def _replace(path, text):
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    os.replace(beside, path)
