"""The page in a real browser, from first key to saved file, and the score of what it saved."""

import base64
import json
import math
import time

import cv2
import numpy as np
import pytest

from tests.chromium import Chromium
from tests.script_runner import run_script
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import user_study
from tf_talkinghead.evaluation.results import (
    About,
    PersonResult,
    Pictures,
    Report,
    Row,
    person_folder,
)

ROWS = [0, 4, 9, 13]


def report(pictures, *methods):
    """A Report of one person by some methods at T = 8."""
    rows = [Row(person="ann", method=method, T=8) for method in methods]
    ann = PersonResult(person="ann", clip="ann.mp4", pictures=pictures, results=rows)
    return Report(about=About(), people=[ann], summary=[], set_distances=[], pictures=Pictures())


@pytest.fixture
def study(tmp_path):
    """An evaluation's output with one person; real frames are grey, fakes red."""
    folder = person_folder(tmp_path, "ann")
    folder.mkdir(parents=True)
    for row in ROWS:
        cv2.imwrite(str(folder / f"truth_{row:03d}.png"), np.full((64, 64, 3), 40 + row, np.uint8))
        for label in ("fine_tune_8", "warp_8"):
            cv2.imwrite(
                str(folder / f"{label}_{row:03d}.png"), np.full((64, 64, 3), (0, 0, 200), np.uint8)
            )
    page = user_study.make(report(ROWS, "nearest", "warp", "fine_tune"), tmp_path, trials=3)
    return page, tmp_path / "user_study_key.json"


def trials_of(page):
    text = page.read_text().split("const STUDY = ", 1)[1]
    return json.JSONDecoder().raw_decode(text)[0]["trials"]


def test_the_key_names_the_fake_and_the_page_does_not(study):
    page, key = study
    trials = json.loads(key.read_text())["trials"]
    assert {entry["method"] for entry in trials.values()} == {
        "fine_tune"
    }  # the model's, since there is one
    for trial in trials_of(page):
        colours = []
        for uri in trial["images"]:
            encoded = np.frombuffer(
                base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")), np.uint8
            )
            colours.append(tuple(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[30, 30]))
        reds = [place for place, (blue, green, red) in enumerate(colours) if int(red) - green > 100]
        assert reds == [trials[trial["id"]]["fake"]]
        assert len(set(colours)) == 3  # no frame twice
    assert "fine_tune" not in page.read_text() and '"fake"' not in page.read_text()


def test_by_keyboard_mouse_and_touch_in_a_browser(study, tmp_path):
    page, key = study
    fakes = {name: entry["fake"] for name, entry in json.loads(key.read_text())["trials"].items()}
    with Chromium(tmp_path) as browser:
        browser.open(page)
        browser.key("1")  # nothing to answer yet
        browser.click("#begin")
        browser.wait("ready")
        # One right by keyboard, one wrong by mouse, one right by touch.
        trial = "STUDY.trials[order[shown]].id"
        first = browser.evaluate(trial)
        browser.key(str(fakes[first] + 1))
        browser.wait("shown === 1 && ready")
        wrong = (fakes[browser.evaluate(trial)] + 1) % 3
        browser.click(f"#faces button:nth-child({wrong + 1})")
        browser.wait("shown === 2 && ready")
        assert browser.evaluate("document.getElementById('count').textContent") == "3 of 3"
        browser.tap(f"#faces button:nth-child({fakes[browser.evaluate(trial)] + 1})")
        browser.wait("!document.getElementById('end').hidden")
        shown = json.loads(browser.evaluate("document.getElementById('text').value"))
        browser.click("#save")
        saved = wait_for_download(browser.downloads)
    assert saved == shown and saved["answers"][0]["trial"] == first
    assert all(answer["seconds"] >= 0 for answer in saved["answers"])
    (tmp_path / "answers.json").write_text(json.dumps(saved))
    scores = user_study.score([tmp_path / "answers.json"], key)
    assert scores["methods"] == [scores["all"] | {"method": "fine_tune", "T": 8}]
    assert (
        scores["all"]["found"] == pytest.approx(2 / 3, abs=1e-4) and scores["all"]["answers"] == 3
    )


def wait_for_download(folder):
    end = time.time() + 30
    while time.time() < end:
        finished = list(folder.glob("answers-*.json"))
        if finished:
            return json.loads(finished[0].read_text())
        time.sleep(0.1)
    raise AssertionError(f"nothing saved in {list(folder.iterdir())}")


def answers(folder, key, participant, right, study=None):
    """A file in which `right` of the trials are answered rightly."""
    tree = json.loads(key.read_text())
    given = [
        {
            "trial": name,
            "choice": entry["fake"] if place < right else (entry["fake"] + 1) % 3,
            "seconds": 1.0,
        }
        for place, (name, entry) in enumerate(tree["trials"].items())
    ]
    path = folder / f"{participant}.json"
    path.write_text(
        json.dumps(
            {
                "schema": 1,
                "study": study or tree["study"],
                "participant": participant,
                "answers": given,
            }
        )
    )
    return path


def test_score_by_hand(study, tmp_path):
    _, key = study
    files = [answers(tmp_path, key, "a", 3), answers(tmp_path, key, "b", 1)]
    scores = user_study.score(files, key)
    row = scores["all"]
    assert scores["participants"] == 2 and (row["answers"], row["found"]) == (
        6,
        pytest.approx(4 / 6, abs=1e-4),
    )
    # Wilson's interval for 4 of 6.
    z, n, p = 1.959964, 6, 4 / 6
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    expected = [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
    assert [row["low"], row["high"]] == pytest.approx(expected, abs=1e-4)


def test_wrong_files_are_refused(study, tmp_path):
    _, key = study
    good = answers(tmp_path, key, "a", 3)
    with pytest.raises(InputError, match="same participant"):
        user_study.score([good, good], key)
    with pytest.raises(InputError, match="study other"):
        user_study.score([answers(tmp_path, key, "b", 3, study="other")], key)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        user_study.score([broken], key)
    with pytest.raises(InputError, match="'answers'"):
        user_study.score([key], key)
    tree = json.loads(good.read_text())
    tree["answers"][0]["choice"] = 7
    broken.write_text(json.dumps(tree))
    with pytest.raises(InputError, match="not an answer"):
        user_study.score([broken], key)
    with pytest.raises(InputError, match="no answers"):
        user_study.score([], key)


def test_the_script_prints_chance_and_interval(study, tmp_path):
    _, key = study
    files = tmp_path / "answers"
    files.mkdir()
    answers(files, key, "a", 3)
    good, bad = run_script(
        "score_user_study",
        [f"--key={key}", f"--answers={files}"],
        [f"--key={key}", f"--answers={key}"],
    )
    assert good.code == 0 and "chance is 0.33" in good.stdout and "fine_tune, T = 8" in good.stdout
    assert bad.code == 1 and bad.stderr.startswith("error: ") and "Traceback" not in bad.stderr


def test_without_pictures_there_is_no_study(tmp_path):
    assert user_study.make(report([0, 1], "warp"), tmp_path) is None
