"""Results as JSON and back, the leading method, who is evaluated, names of folders."""

import csv
import json
import os
import pathlib

import pytest

from tests.moving_portrait import source
from tf_talkinghead import weights
from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import run
from tf_talkinghead.evaluation.results import (
    CROSS,
    About,
    PersonResult,
    Pictures,
    Report,
    Row,
    SetDistances,
    SummaryRow,
    person_folder,
)
from tf_talkinghead.evaluation.summary import leading

SHIPPED = pathlib.Path(weights.__file__).parent


def made_report():
    """A Report of two people, with a value in each of its parts."""
    truth = Row(person="ann", T=None, method="truth", csim=0.9)
    own = Row(person="ann", T=8, method="warp", ssim=0.75, l1=0.05, per_frame_ssim=[0.7, 0.8])
    cross = Row(person="ann", T=8, method="warp", protocol=CROSS, adapt="relative", driver="bob")
    ann = PersonResult(person="ann", clip="a.mp4", frames=90, learn=[4, 1], holdout=[60, 61])
    ann.results, ann.shots, ann.worst = [truth, own, cross], [8], {"warp_8": 1}
    ann.history = {"fine_tune_8": [{"step": 10, "ssim": 0.5}]}
    bob = PersonResult(person="bob", clip="b.mp4", problems=["too few frames"])
    return Report(
        about=About(weights="demo", protocol=EvaluationConfig(shots=(8,)), notes=["a note"]),
        people=[ann, bob],
        summary=[SummaryRow(T=8, method="warp", protocol="self", people=1, ssim=0.75)],
        set_distances=[SetDistances(method="warp", T=8, n=32, kid=0.1)],
        pictures=Pictures(sheets={"ann": "people/ann/sheet.png"}),
    )


def test_report_json_keeps_its_documented_keys():
    tree = json.loads(json.dumps(made_report().to_json(), allow_nan=False))
    truth, own, cross = tree["results"]
    keys = {"person", "T", "method", "protocol", "ssim", "l1", "csim", "landmark_error"}
    assert keys <= own.keys() == truth.keys() == cross.keys()
    assert (own["ssim"], own["T"], truth["T"], cross["driver"]) == (0.75, 8, None, "bob")
    assert tree["problems"] == [{"person": "bob", "problem": "too few frames"}]
    assert (tree["weights"], tree["protocol"]["shots"]) == ("demo", [8])
    assert tree["people"][0]["holdout"] == [60, 61] and "results" not in tree["people"][0]


def test_report_json_round_trip():
    """Nothing is lost on the way to disk; what is no report of this schema is refused."""
    report = made_report()
    stored = json.loads(json.dumps(report.to_json()))
    assert Report.from_json(stored) == report
    assert Report.from_json(stored).to_json() == report.to_json()
    with pytest.raises(InputError, match="expected schema 2, got 1"):
        Report.from_json(stored | {"schema": 1})
    with pytest.raises(InputError, match="expected schema 2, got list"):
        Report.from_json([])
    with pytest.raises(InputError, match="not a result of an evaluation .*'method'"):
        Report.from_json(stored | {"summary": [{"T": 8}]})


def test_leading_method():
    def row(method, T, ssim):
        return Row(person="ann", method=method, T=T, ssim=ssim)

    of_model = [row("vector", 8, 0.5), row("fine_tune", 8, 0.6), row("vector", 32, 0.8)]
    assert leading([row("warp", 8, 0.9), *of_model]) == ("fine_tune", 8)
    assert leading([row("warp", 1, 0.9), row("nearest", 1, 0.5)]) == ("warp", 1)
    assert leading([]) == ("warp", 0)


def test_choosing_people():
    people = [source("ann"), source("bob"), source("photo", frames=1)]
    chosen, notes = run.choose_people(people, trained_on={"ann"})
    assert [s.person for s in chosen] == ["bob"] and "ann" in notes[0] and "photos" in notes[1]
    assert len(run.choose_people(people, limit=1)[0]) == 1
    with pytest.raises(InputError, match="nobody called eve"):
        run.choose_people(people, people=["eve"])
    with pytest.raises(InputError, match="nobody left"):
        run.choose_people(people, people=["ann"], trained_on={"ann"})


def test_the_groups_of_people_are_the_manifests_and_nobody_was_trained_on():
    groups = {name: [source(p) for p in run.group(name)] for name in run.GROUPS}
    both = [*groups["choose"], *groups["report"]]
    assert len({s.person for s in both}) == len(both) == 12 + 20
    chosen, _ = run.choose_people(both, people=["report"])
    assert [s.person for s in chosen] == [s.person for s in groups["report"]]
    for name in ("demo", "guided"):
        trained_on = json.loads((SHIPPED / name / "provenance.json").read_text())["identities"]
        assert not {s.person for s in both} & set(trained_on)
    if real_data := os.environ.get("TALKINGHEAD_REAL_DATA"):
        with open(pathlib.Path(real_data) / "MANIFEST.csv") as file:
            rows = [row for row in csv.DictReader(file) if row["kind"] == "video"]
        for name in run.GROUPS:
            assert set(run.group(name)) == {r["person_id"] for r in rows if r["split"] == name}


def test_person_folders_stay_distinct_and_inside(tmp_path):
    names = ["ann", "../ann", "a/b", "a_b", ".hidden", "Ånn"]
    folders = [person_folder(tmp_path, name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(
        folder.parent == tmp_path / "people" and not folder.name.startswith(".")
        for folder in folders
    )
