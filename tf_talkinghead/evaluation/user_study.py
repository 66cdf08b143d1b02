"""The paper's user study (Sec. 4): find the fake among three pictures; chance is 1/3.

    make(report, output)                     # user_study/index.html and user_study_key.json
    score([answers, ...], key)               # from the files that the page saves

The page is one file and needs no server. Only the key says which picture is the fake; it stays with
the person who runs the study. All pictures are encoded alike, so that their files give no hint.
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
from tf_talkinghead.evaluation.results import SELF, TRUTH, method_label, person_folder
from tf_talkinghead.evaluation.sheets import frame_path
from tf_talkinghead.files import write_atomically

STUDY_SCHEMA = 1
CHANCE = 1 / 3
TRIALS = 12  # of each method and T


def make(report, output, trials=TRIALS, seed=0):
    """Writes the page and its key.

    The fakes are frames of the model's methods. Where only baselines were evaluated, they are those
    of the warp: the nearest image is a real one, so there would be nothing to find.

    Args:
      report: a Report.
      output: its folder.
      trials: number of trials for each method and T.
      seed: of the choice of frames and their order.

    Returns:
      The page's path; None where no person has three pictures.
    """
    rows = [row for row in report.results if row.protocol == SELF and row.T]
    methods = MODEL_METHODS if any(row.method in MODEL_METHODS for row in rows) else ("warp",)
    asked = sorted({(row.method, row.T) for row in rows if row.method in methods})
    rng = np.random.default_rng([seed, 11])
    shown, key = [], {}
    for method, T in asked:
        able = [
            person
            for person in report.people
            if len(person.pictures) >= 3 and person.own_row(method, T)
        ]
        for number in range(trials if able else 0):
            person = able[number % len(able)]
            images, fake = _trial(person, output, method_label(method, T), rng)
            # The trial's name must not reveal the method.
            name = hashlib.sha256(f"{seed}{method}{T}{number}".encode()).hexdigest()[:10]
            shown.append({"id": name, "images": images})
            key[name] = {"fake": fake, "person": person.person, "method": method, "T": T}
    if not shown:
        return None
    shown = [shown[place] for place in rng.permutation(len(shown))]
    study = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:12]
    template = importlib.resources.files("tf_talkinghead.evaluation").joinpath("user_study.html")
    data = json.dumps({"study": study, "trials": shown})
    text = template.read_text("utf-8").replace("/*STUDY*/null", data)
    output = pathlib.Path(output)
    page = output / "user_study" / "index.html"
    write_atomically(page, text.encode())
    tree = {"schema": STUDY_SCHEMA, "study": study, "trials": key}
    write_atomically(output / "user_study_key.json", (json.dumps(tree, indent=1) + "\n").encode())
    return page


def score(answer_files, key_file):
    """Shares of fakes found, with Wilson's 95 % interval and the p-value of chance.

    The test is binomial and two-sided; all answers are treated as independent.

    Args:
      answer_files: files saved by the page.
      key_file: `user_study_key.json`.

    Returns:
      {"participants", "chance", "methods": [one dict per method and T], "all": a dict of all
      answers}.

    Raises:
      InputError: a file of another study, a trial that is not in the key, two files of one
        participant, or no answers.
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
                f"{path}: the same participant as {seen[sheet['participant']]}: "
                "leave one of them out"
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


def _trial(person, output, label, rng):
    """(three pictures as data URIs, which of them is the fake); no two show the same frame."""
    folder = person_folder(output, person.person)
    frames = rng.choice(person.pictures, 3, replace=False)
    fake = int(rng.integers(3))
    labels = [label if place == fake else TRUTH for place in range(3)]
    paths = [frame_path(folder, *one) for one in zip(labels, frames, strict=True)]
    return [_data_uri(path) for path in paths], fake


def _data_uri(path):
    encoded = cv2.imencode(".jpg", cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _read(path, wanted):
    try:
        tree = json.loads(pathlib.Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(tree, dict) or tree.get("schema") != STUDY_SCHEMA or wanted not in tree:
        raise InputError(f"{path}: expected a file with {wanted!r} of schema {STUDY_SCHEMA}")
    return tree
