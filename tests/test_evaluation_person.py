"""A whole evaluation of synthetic people by the baselines and some methods that misbehave."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from tests.moving_portrait import clip, source
from tf_talkinghead import metrics
from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.errors import NoFaceError, TalkingHeadError
from tf_talkinghead.evaluation import methods, person, report
from tf_talkinghead.evaluation.markdown import markdown
from tf_talkinghead.evaluation.results import SELF, About, person_folder

# Without smoothing, since `perfect` finds its frames by their very landmarks.
CONFIG = EvaluationConfig(
    shots=(1, 3, 30), holdout=8, gap=3, cross_shots=3, pictures=4, smooth=False
)
FRAMES = 36  # too few for T = 30
SIZE = 96


def perfect(images, landmarks):
    """Knows the clip and gives back the frame itself, by its landmarks."""
    made = clip(FRAMES, SIZE)

    def render(driving):
        distance = np.abs(made.landmarks[None] - driving[:, None]).sum((2, 3))
        return made.images[distance.argmin(1)]

    return methods.Renderer(render, [{"step": 0, "ssim": 0.5}, {"step": 10, "ssim": 0.75}])


def grey(images, landmarks):
    return methods.Renderer(lambda driving: np.full((len(driving), SIZE, SIZE, 3), 128, np.uint8))


def small(images, landmarks):
    return methods.Renderer(lambda driving: np.zeros((len(driving), 32, 32, 3), np.uint8))


def refusing(images, landmarks):
    raise NoFaceError("no face in the images")


METHODS = methods.build(["nearest", "warp"]) | {
    "fine_tune": perfect, "feed_forward": grey, "vector": small,
}  # fmt: skip


def numbers(images, landmarks):
    """A cheap embedding, so that these tests do not wait for the face network."""
    # Where no face was found, the driving landmarks say where to look.
    assert np.isfinite(landmarks).all()
    return np.float64([image[::16, ::16].mean((0, 1)) for image in images]).reshape(-1, 3)


def task(output, **changes):
    people = [
        source("ann", FRAMES, SIZE),
        source("bob", FRAMES, SIZE, tint=1),
        source("tiny", 10, SIZE),
    ]
    settings = {
        "sources": people, "methods": METHODS, "config": CONFIG, "size": SIZE,
        "output": output, "embed": numbers,
        "centre": np.float64(0), "gallery": people,
    }  # fmt: skip
    return person.Task(**settings | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation")
    results = person.evaluate(task(output))
    return output, results, report.write_report(results, output, About(size=SIZE, protocol=CONFIG))


def rows(results, person, protocol="self"):
    (result,) = [result for result in results if result.person == person]
    return {(row.method, row.T): row for row in result.results if row.protocol == protocol}


def test_figures_are_those_of_the_listed_frames(done):
    """Anybody can repeat a figure from the frames the report lists."""
    _, results, _ = done
    made = clip(FRAMES, SIZE)
    (ann,) = [result for result in results if result.person == "ann"]
    for T in (1, 3):
        row = rows(results, "ann")["nearest", T]
        learn, truth = ann.learn[:T], made.images[ann.holdout]
        renderer = methods.baseline("nearest")(made.images[learn], made.landmarks[learn])
        expected = renderer(made.landmarks[ann.holdout])
        assert row.ssim == pytest.approx(metrics.ssim(truth, expected).mean(), abs=1e-4)
        assert row.l1 == pytest.approx(metrics.l1(truth, expected).mean(), abs=1e-4)


def test_a_perfect_method_scores_perfectly_and_beats_the_nearest(done):
    _, results, written = done
    row = rows(results, "ann")["fine_tune", 3]
    assert row.ssim == pytest.approx(1) and row.l1 == 0 and row.psnr is None
    assert row.flicker == 0 and row.faces_found == 1
    floor = rows(results, "ann")["truth", None]
    assert row.landmark_error == floor.landmark_error < 0.05
    assert row.blink == floor.blink and row.jitter == floor.jitter
    summary = {(row.method, row.T): row for row in written.summary if row.protocol == SELF}
    assert summary["fine_tune", 3].beats_nearest == "1/2"  # it knows ann's clip, not bob's
    assert summary["feed_forward", 3].beats_nearest == "0/2"
    assert summary["fine_tune", 3].people == 2 and summary["truth", None].people == 2


def test_what_cannot_be_had_is_listed_and_the_rest_goes_on(done):
    _, results, written = done
    problems = {(item.person, item.problem.split(":")[0]) for item in written.problems}
    texts = " | ".join(item.problem for item in written.problems)
    assert ("tiny", "tiny.mp4") in problems and "it has 10" in texts
    assert ("ann", "T = 30") in problems and ("bob", "vector, T = 1") in problems
    assert "no face found in any result" in texts and "32, 32" in texts
    blank = rows(results, "ann")["feed_forward", 1]
    assert blank.faces_found == 0 and blank.landmark_error is None and blank.ssim > 0
    assert ("vector", 1) not in rows(results, "ann") and ("warp", 3) in rows(results, "bob")


def test_a_method_that_refuses_is_a_problem_of_that_person(tmp_path):
    results = person.evaluate(
        task(
            tmp_path,
            methods={"warp": METHODS["warp"], "fine_tune": refusing},
            sources=[source("ann", FRAMES, SIZE)],
        )
    )
    assert "fine_tune, T = 1: no face in the images" in results[0].problems
    assert [row.method for row in results[0].results] == ["truth", "warp", "warp"]


def test_an_interruption_ends_the_run_and_leaves_the_person_to_be_done_again(tmp_path):
    def interrupted(images, landmarks):
        raise TalkingHeadError("personalising was interrupted")

    with pytest.raises(TalkingHeadError, match="interrupted"):
        person.evaluate(task(tmp_path, methods={"fine_tune": interrupted}))
    assert not (person_folder(tmp_path, "ann") / "result.json").exists()


def test_cross_person_driving_has_face_and_landmarks_only(done):
    _, results, _ = done
    row = rows(results, "ann", "cross")["warp", 3]
    assert row.driver == "bob" and row.ssim is None
    assert row.landmark_error < 0.1 and row.csim > 0.5
    assert rows(results, "ann", "cross_unadapted")["warp", 3].driver == "bob"


def test_the_report_says_what_adaptation_does(done):
    output, _, written = done
    crossed = {(row.method, row.adapt): row for row in written.summary if row.protocol != SELF}
    relative, none = crossed["warp", "relative"], crossed["warp", "none"]
    assert relative.pairs == none.pairs == 2  # ann by bob, bob by ann
    assert relative.csim_wins.endswith("/2") and none.csim_wins is None
    assert crossed["feed_forward", "relative"].landmark_wins is None  # no face is found in grey
    text = (output / "report.md").read_text().split("## Driven by another person")[1]
    assert "| 3 | warp | 2 | relative | 2 |" in text and "| 3 | warp | 2 | none | 2 |" in text
    assert "CSIM wins" in text


def test_rank_needs_enough_other_people(done, tmp_path):
    _, results, _ = done
    assert rows(results, "ann")["warp", 3].rank_1 is None
    few = dataclasses.replace(CONFIG, gallery_people=1, shots=(1,))
    result = person.evaluate(
        task(
            tmp_path,
            config=few,
            methods=methods.build(["warp"]),
            sources=task(tmp_path).sources[:1],
        )
    )
    assert rows(result, "ann")["warp", 1].rank_1 == 1


def warp_counting(calls):
    """METHODS with a warp that notes how many images it was given."""

    def counting(images, landmarks):
        calls.append(len(images))
        return METHODS["warp"](images, landmarks)

    return METHODS | {"warp": counting}


def without_time(result):
    return [dataclasses.replace(row, learn_seconds=None) for row in result.results]


def test_resume_keeps_finished_people_and_redoes_what_changed(done, tmp_path):
    output, results, _ = done
    shutil.copytree(output / "people", tmp_path / "people")
    calls = []
    again = task(tmp_path, methods=warp_counting(calls))
    assert person.evaluate(again) == results and not calls
    (person_folder(tmp_path, "bob") / "result.json").unlink()
    redone = person.evaluate(again)
    assert calls == [1, 3] and redone[0] == results[0]
    assert without_time(redone[1]) == without_time(results[1])
    calls.clear()
    other_frames = dataclasses.replace(CONFIG, seed=1)
    person.evaluate(task(tmp_path, methods=warp_counting(calls), config=other_frames))
    assert calls == [1, 3, 1, 3]  # nothing of the old is used


def test_resume_takes_the_files_of_the_release_before(done, tmp_path):
    """They name the scored frames "judge", and leave out the keys that do not apply to a row."""
    output, results, _ = done
    shutil.copytree(output / "people", tmp_path / "people")
    for path in tmp_path.glob("people/*/result.json"):
        tree = json.loads(path.read_text())
        tree["judge"] = tree.pop("holdout")
        for row in tree["results"]:
            missing = [key for key in row if row[key] is None and key not in ("T", "rank_1")]
            for key in missing:
                del row[key]
        path.write_text(json.dumps(tree))
    calls = []
    assert person.evaluate(task(tmp_path, methods=warp_counting(calls))) == results
    assert not calls


@pytest.mark.parametrize("broken", ["", "[]", '{"key": 1}', "row", "schema"])
def test_a_result_that_cannot_be_read_is_evaluated_again(done, tmp_path, broken):
    output, results, _ = done
    shutil.copytree(output / "people", tmp_path / "people")
    path = person_folder(tmp_path, "bob") / "result.json"
    tree = json.loads(path.read_text())
    if broken == "row":
        del tree["results"][1]["method"]
    elif broken == "schema":
        tree["schema"] += 1
    path.write_text(json.dumps(tree) if broken in ("row", "schema") else broken)
    calls = []
    redone = person.evaluate(task(tmp_path, methods=warp_counting(calls)))
    assert calls == [1, 3] and without_time(redone[1]) == without_time(results[1])


def test_report_files_and_fields(done):
    output, _, written = done
    stored = json.loads((output / "report.json").read_text())
    fields = {"person", "T", "method", "protocol", "ssim", "l1", "csim", "landmark_error"}
    assert all(fields <= row.keys() for row in stored["results"])
    own = [row for row in stored["results"] if row["protocol"] == "self" and row["T"]]
    assert own and all(isinstance(row["ssim"], float) for row in own)
    text = (output / "report.md").read_text()
    tables = ["| 3 | nearest | 2 |", "| 3 | fine_tune | 2 |", "SSIM face", "truth"]
    for wanted in (*tables, "## Problems", "## Frames used", "No FID or KID"):
        assert wanted in text
    curves = ("worst.png", "curves_T.png", "curves_steps.png")
    for name in (*curves, *stored["pictures"]["sheets"].values()):
        assert (output / name).stat().st_size > 1000 and name in text
    # Worst first: bob, whose clip the leading method does not know.
    people = text.split("worst first")[1]
    assert people.index("| bob |") < people.index("| ann |")
    assert "learn " + " ".join(map(str, written.people[0].learn)) in text


def test_set_distances_join_people_and_methods(done):
    _, _, written = done
    found = {(row.method, row.T): row for row in written.set_distances}
    assert found["warp", 3].n == 16
    assert found["warp", 3].face_kernel < found["feed_forward", 3].face_kernel
    assert found["fine_tune", 3].face_frechet is not None  # 16 frames, 3 features


def test_inception_features_are_used_where_given(tmp_path):
    def features(images):
        return images.reshape(len(images), -1)[:, :2048].astype(np.float32)

    people = [source("ann", FRAMES, SIZE)]
    results = person.evaluate(
        task(tmp_path, sources=people, methods=methods.build(["warp"]), inception=features)
    )
    written = report.write_report(results, tmp_path)
    row = written.set_distances[0]
    assert row.fid is None and math.isfinite(row.kid) and row.n == 8  # too few for FID
    assert "(n < 2048)" in (tmp_path / "report.md").read_text()


def test_figures_by_a_network_that_was_a_loss_are_marked(done):
    _, _, written = done
    about = dataclasses.replace(written.about, face_network_in_loss="losses.face = 1")
    marked = markdown(dataclasses.replace(written, about=about))
    assert "| CSIM* | distance* |" in marked and "flatter the model" in marked
    assert "*" not in markdown(written).split("## Motion")[0]
