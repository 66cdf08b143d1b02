"""The paper's user study (Sec. 4): three pictures of a person, two real, find the fake; 1/3 is chance.

    make(report, results, output)            # output/user_study/index.html and output/user_study_key.json
    score([answers, ...], key)               # what the files saved by the page add up to

The page is one file without a server. Which picture is the fake stands only in the key, which stays with
whoever runs the study. All pictures are encoded alike, so that files cannot be told apart.
"""

import base64
import hashlib
import importlib.resources
import json
import pathlib

import cv2
import numpy as np
from scipy.stats import binomtest

from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation.methods import MODEL_METHODS
from tf_talkinghead.evaluation.sheets import person_folder

STUDY_SCHEMA = 1
CHANCE = 1 / 3
TRIALS = 12  # of each method and T


def make(report, results, output, trials=TRIALS, seed=0):
    """Writes the page and its key; the page's path, or None where no person has three pictures.

    The model's methods are asked about; where only baselines were evaluated, the warp is (the nearest image
    is a real one, so there would be nothing to find).
    """
    rows = [row for row in report["results"] if row["protocol"] == "self" and row["T"]]
    methods = MODEL_METHODS if any(row["method"] in MODEL_METHODS for row in rows) else ("warp",)
    asked = sorted({(row["method"], row["T"]) for row in rows if row["method"] in methods})
    rng = np.random.default_rng([seed, 11])
    shown, key = [], {}
    for method, T in asked:
        able = [
            result
            for result in results
            if len(result.get("pictures", [])) >= 3 and _has(result, method, T)
        ]
        for number in range(trials if able else 0):
            result = able[number % len(able)]
            images, fake = _trial(result, output, f"{method}_{T}", rng)
            name = hashlib.sha256(f"{seed}{method}{T}{number}".encode()).hexdigest()[
                :10
            ]  # says nothing of the method
            shown.append({"id": name, "images": images})
            key[name] = {"fake": fake, "person": result["person"], "method": method, "T": T}
    if not shown:
        return None
    shown = [shown[place] for place in rng.permutation(len(shown))]
    study = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:12]
    page = (
        importlib.resources.files("tf_talkinghead.evaluation")
        .joinpath("user_study.html")
        .read_text("utf-8")
    )
    data = json.dumps({"study": study, "trials": shown})
    folder = pathlib.Path(output) / "user_study"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(page.replace("/*STUDY*/null", data), "utf-8")
    text = json.dumps({"schema": STUDY_SCHEMA, "study": study, "trials": key}, indent=1) + "\n"
    (pathlib.Path(output) / "user_study_key.json").write_text(text)
    return folder / "index.html"


def score(answer_files, key_file):
    """Reads the files saved by the page and the key: one dict a method and T, and one for all together.

    `found` is the share of fakes found, with Wilson's 95 % interval and the p-value of chance (two-sided,
    binomial). Answers of one person are taken as independent. InputError for a file of another study, a
    trial that is not in the key, or the same participant twice.
    """
    key = _read(key_file, "trials")
    seen, answers = {}, []
    for path in answer_files:
        sheet = _read(path, "answers")
        if sheet.get("study") != key["study"]:
            raise InputError(
                f"{path}: answers to study {sheet.get('study')}, the key is of {key['study']}"
            )
        if sheet.get("participant") in seen:
            raise InputError(
                f"{path}: the same participant as {seen[sheet['participant']]}: leave one of them out"
            )
        seen[sheet.get("participant")] = path
        for answer in sheet["answers"]:
            if answer.get("trial") not in key["trials"] or answer.get("choice") not in (0, 1, 2):
                raise InputError(f"{path}: not an answer to this study: {json.dumps(answer)[:120]}")
            truth = key["trials"][answer["trial"]]
            answers.append((truth["method"], truth["T"], answer["choice"] == truth["fake"]))
    if not answers:
        raise InputError("no answers in the files given")
    rows = [
        _row(method, T, [a[2] for a in answers if a[:2] == (method, T)])
        for method, T in sorted({a[:2] for a in answers})
    ]
    return {
        "participants": len(seen),
        "chance": CHANCE,
        "methods": rows,
        "all": _row("all", None, [a[2] for a in answers]),
    }


def _row(method, T, found):
    test = binomtest(sum(found), len(found), CHANCE)
    low, high = test.proportion_ci(0.95, method="wilson")
    return {
        "method": method, "T": T, "answers": len(found), "found": round(sum(found) / len(found), 4),
        "low": round(low, 4), "high": round(high, 4), "p_of_chance": round(float(test.pvalue), 5),
    }  # fmt: skip


def _trial(result, output, label, rng):
    """Three pictures as data URIs and which of them is the fake; no two show the same frame."""
    folder = person_folder(output, result["person"])
    frames = rng.choice(result["pictures"], 3, replace=False)
    fake = int(rng.integers(3))
    names = [
        f"{label if place == fake else 'truth'}_{frame:03d}.png"
        for place, frame in enumerate(frames)
    ]
    return [_data_uri(folder / name) for name in names], fake


def _data_uri(path):
    encoded = cv2.imencode(".jpg", cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _has(result, method, T):
    return any(
        (row["method"], row["T"], row["protocol"]) == (method, T, "self")
        for row in result["results"]
    )


def _read(path, wanted):
    try:
        tree = json.loads(pathlib.Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(tree, dict) or tree.get("schema") != STUDY_SCHEMA or wanted not in tree:
        raise InputError(f"{path}: expected a file with {wanted!r} of schema {STUDY_SCHEMA}")
    return tree
