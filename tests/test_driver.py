"""Driver motion read from a video, and the film of an avatar: sound, rate, gaps, a dying server."""

import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import video
from tf_talkinghead.driving import driver, film, retargeting, webcam
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.errors import InputError, NoFaceError, TalkingHeadError

FPS = 12.5


@pytest.fixture(scope="module")
def clip(portrait, tmp_path_factory):
    """30 frames with sound: the portrait drifts to the right, frames 10 to 13 show a blank wall."""
    folder = tmp_path_factory.mktemp("driver")
    frames = []
    for t in range(30):
        shifted = cv2.warpAffine(
            portrait, np.float32([[0.7, 0, 20 + 2 * t], [0, 0.7, 10]]), (360, 300)
        )
        frames.append(np.full_like(shifted, 90) if 10 <= t < 14 else shifted)
    video.write_video(folder / "silent.mp4", frames, FPS)
    add_sound(folder / "silent.mp4", folder / "driver.mp4", seconds=3.0)
    return folder / "driver.mp4"


def add_sound(source, path, seconds):
    """The film with a hum, so that there is sound to keep."""
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        pictures = film.streams.video[0]
        picture_out = out.add_stream_from_template(pictures)
        sound_out = out.add_stream("aac", rate=16000)
        for packet in film.demux(pictures):
            if packet.dts is not None:
                packet.stream = picture_out
                out.mux(packet)
        wave = (np.sin(np.arange(int(16000 * seconds)) * 0.1)[None] * 0.3).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*sound_out.encode(frame), *sound_out.encode()]:
            out.mux(packet)


def painter(landmarks):
    """A renderer without a server: a 32-px picture whose red is the first point's x."""
    for points in landmarks:
        yield np.full((32, 32, 3), np.clip(points[0, 0], 0, 1) * 255, np.uint8)


def dying(after):
    def stream(landmarks):
        for count, frame in enumerate(painter(landmarks)):
            if count == after:
                raise TalkingHeadError("the server is gone")
            yield frame

    return stream


def probed(path):
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        return {
            "codec": stream.codec_context.name,
            "fps": float(stream.average_rate),
            "frames": frames,
            "sound": len(film.streams.audio),
            "metadata": dict(film.metadata),
        }


def test_frames_without_a_face_hold_the_last_pose_and_are_counted(clip):
    done = driver.read_driver(clip, PreparationConfig(), smoothing=False, progress=False)
    assert done.landmarks.shape == (30, 68, 2) and done.fps == pytest.approx(FPS) and done.has_audio
    assert not done.seen[10:14].any() and done.seen[:9].all() and done.seen[24:].all()
    last_seen = np.flatnonzero(done.seen[:14])[-1]
    for t in range(last_seen + 1, 14):
        np.testing.assert_array_equal(done.landmarks[t], done.landmarks[last_seen])
    drift = done.landmarks[28, :, 0].mean() - done.landmarks[0, :, 0].mean()
    assert drift == pytest.approx(28 * 2 / done.box.side, abs=0.02)


def test_smoothing_is_on_unless_switched_off(clip):
    rough = driver.read_driver(clip, PreparationConfig(), smoothing=False, progress=False).landmarks
    calm = driver.read_driver(clip, PreparationConfig(), progress=False).landmarks
    assert 0 < np.abs(calm - rough).max() < 0.1


def test_a_clip_of_nobody_names_the_file(tmp_path):
    video.write_video(tmp_path / "wall.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 5, 10)
    with pytest.raises(NoFaceError, match="wall.mp4: no face found"):
        driver.read_driver(tmp_path / "wall.mp4", PreparationConfig(), progress=False)


def test_on_avatar_moves_the_avatars_own_face(clip):
    done = driver.read_driver(clip, PreparationConfig(), progress=False)
    face = retargeting.AvatarFace(COLLINS)
    adapted = retargeting.on_avatar(done, face)
    assert adapted.shape == done.landmarks.shape
    # The same face drives itself: the result is near the reference, shifted as the driver is.
    assert np.abs(adapted.mean(0) - adapted.mean((0, 1)) - (COLLINS - COLLINS.mean(0))).max() < 0.02
    unchanged = retargeting.on_avatar(done, face, mode="none")
    np.testing.assert_array_equal(unchanged, done.landmarks)


def test_the_film_keeps_rate_sound_and_says_what_it_is(clip, tmp_path):
    done = driver.read_driver(clip, PreparationConfig(), progress=False)
    result = film.film(
        done.landmarks,
        painter,
        tmp_path / "out.mp4",
        done.fps,
        beside=lambda size: driver.driver_crops(done, size),
        audio_from=clip,
        title="collins",
        progress=False,
    )
    assert result.frames == 30 and result.error is None
    result = probed(tmp_path / "out.mp4")
    assert result["codec"] == "h264" and result["sound"] == 1
    assert result["fps"] == pytest.approx(FPS)
    assert len(result["frames"]) == 30 and result["frames"][0].shape == (32, 64, 3)
    assert "AI-generated" in result["metadata"]["comment"]
    assert "digitalSourceType=" in result["metadata"]["comment"]
    assert result["metadata"]["title"] == "collins"
    left, right = result["frames"][5][:, :30], result["frames"][5][:, 34:]
    assert left.std() > 20 > 5 > right.std()  # the driver's face beside the flat picture


def test_a_stream_that_dies_leaves_what_was_rendered(tmp_path):
    result = film.film(
        scripted_motion(COLLINS), dying(after=7), tmp_path / "out.mp4", 25, progress=False
    )
    assert result.frames == 7 and str(result.error) == "the server is gone"
    assert len(probed(tmp_path / "out.mp4")["frames"]) == 7


def test_a_stream_that_never_began_leaves_no_file(tmp_path):
    with pytest.raises(TalkingHeadError, match="the server is gone"):
        film.film(
            scripted_motion(COLLINS), dying(after=0), tmp_path / "out.mp4", 25, progress=False
        )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    """A process that may write 20 kB a file stands for a disk that is full."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from tf_talkinghead.driving import film\n"
        "from tf_talkinghead.errors import InputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "noise = np.random.default_rng(0)\n"
        "def stream(landmarks):\n"
        "    return (noise.integers(0, 255, (128, 128, 3), np.uint8) for _ in landmarks)\n"
        "try:\n"
        "    film.film(np.zeros((100, 68, 2)), stream, sys.argv[1], 25, progress=False)\n"
        "except InputError as error:\n"
        "    print('refused:', error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out.mp4")], capture_output=True, text=True
    )
    said = result.stdout
    assert "refused:" in said and "cannot be written" in said, result.stderr[-2000:]
    assert not list(tmp_path.iterdir())


class Camera:
    """Stands for cv2.VideoCapture: 12 pictures, then nothing."""

    def __init__(self, index):
        self.left = 12 if index == 0 else 0

    def isOpened(self):
        return self.left > 0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((40, 60, 3), (0, 0, 200), np.uint8)  # BGR: red

    def release(self):
        pass


def test_a_webcam_is_recorded_at_the_rate_it_gave(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    webcam.record_webcam(tmp_path / "cam.mp4", seconds=5, progress=False)
    result = probed(tmp_path / "cam.mp4")
    assert len(result["frames"]) == 12 and 1 <= result["fps"] <= 60
    red, _, blue = result["frames"][3].reshape(-1, 3).mean(0)
    assert red > 150 > 60 > blue


def test_no_webcam_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with pytest.raises(InputError, match="no webcam found"):
        webcam.record_webcam(tmp_path / "cam.mp4", seconds=1, camera=3, progress=False)
