"""Refusals of a preparation: wrong arguments, outputs that cannot be written, nothing usable."""

import pytest

from tests.prepare_footage import write_footage
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data.prepare import _settings, prepare
from tf_talkinghead.errors import InputError

CONFIG = PreparationConfig(size=48, max_frames=4, clips_per_shard=2)


@pytest.fixture(scope="module")
def footage(tmp_path_factory, portrait):
    return write_footage(tmp_path_factory.mktemp("footage"), portrait)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["clips"], "clips: expected Apache Beam's flags, with --runner=NAME"),
        (["--runer=FlinkRunner"], "--runer=FlinkRunner: expected Apache Beam's flags"),
        (["--runner=NoSuchRunner"], "--runner=NoSuchRunner: Beam has no such runner here"),
    ],
)
def test_arguments_that_name_no_runner_are_refused(footage, tmp_path, arguments, said):
    with pytest.raises(InputError, match=f"^{said}"):
        prepare(footage, tmp_path / "out", CONFIG, beam_args=arguments, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_runner_that_fails_is_one_line(footage, tmp_path, monkeypatch):
    def unreachable(*_):
        raise ConnectionError("no cluster at HOST:8081\nlong story")

    monkeypatch.setattr(
        "apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner.run_pipeline", unreachable
    )
    with pytest.raises(InputError, match=r"the runner failed \(no cluster at HOST:8081\)"):
        prepare(
            footage,
            tmp_path,
            CONFIG,
            beam_args=["--runner=BundleBasedDirectRunner"],
            progress=False,
        )


def test_landmark_files_of_one_name_and_other_content_are_other_settings(tmp_path):
    described = []
    for place, content in enumerate((b"one", b"two")):
        path = tmp_path / str(place) / "model.dat"
        path.parent.mkdir()
        path.write_bytes(content)
        described.append(_settings(CONFIG, path)["landmark_model"])
    assert described[0] != described[1] and all(text.startswith("model.dat") for text in described)


def test_no_usable_clip_at_all(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mp4").write_text("x")
    with pytest.raises(InputError, match="no usable clip; see .*rejected.csv"):
        prepare(tmp_path / "in", tmp_path / "out", CONFIG, workers=1, progress=False)
    assert "unreadable" in (tmp_path / "out" / "rejected.csv").read_text()
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_output_that_cannot_be_written(footage, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--output=.*cannot be written"):
        prepare(footage, tmp_path / "file" / "out", CONFIG, progress=False)


def test_one_preparation_at_a_time(footage, tmp_path):
    import fcntl

    (tmp_path / ".work").mkdir()
    with open(tmp_path / ".work" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another preparation"):
            prepare(footage, tmp_path, CONFIG, progress=False)
