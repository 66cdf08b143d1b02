"""A live recording: sound and frames by the page's clock, whatever came when."""

import av
import numpy as np
import pytest

from tests.studio_fixtures import as_jpeg
from tf_talkinghead.errors import InputError
from tf_talkinghead.studio.jobs import Job
from tf_talkinghead.studio.recording import FPS, Recording

RATE = 48_000


def made(recording, models):
    job = Job("recording", "ann", "Recorded live")
    entry = recording.make(job, models, "ann", {"person": "ann"})
    return entry, models / ".work" / "ann" / "films" / f"{entry['id']}.mp4"


def sound_of(path):
    """Samples of the film's sound, and seconds of the first."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[0]))
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].time


def brightness_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]


@pytest.mark.parametrize("sound_began", [-0.35, 0.4])
def test_a_clap_is_seen_and_heard_at_once(tmp_path, sound_began):
    """Frames come unevenly; the sound begins before the first frame, or after it."""
    recording = Recording(tmp_path / "recording")
    clap, began = 1.2, 40.0  # seconds of the film; of the page at the first frame
    gaps = np.random.default_rng(0).uniform(0.03, 0.12, 40)
    moments = np.concatenate([[0.0], np.cumsum(gaps)])
    dark, light = (as_jpeg(np.full((32, 32, 3), level, np.uint8)) for level in (10, 240))
    for moment in moments:
        recording.add_frame(began + moment, light if moment >= clap else dark)
    heard = np.arange(round((3.0 - sound_began) * RATE)) / RATE + sound_began
    samples = np.where(np.abs(heard - clap) < 0.01, 20_000, 0).astype("<i2")
    for start in range(0, len(samples), 4800):
        part = samples[start : start + 4800]
        recording.add_sound(began + sound_began + start / RATE, RATE, part.tobytes())
    entry, path = made(recording, tmp_path)
    levels = brightness_of(path)
    assert len(levels) == entry["frames"] == int(moments[-1] * FPS) + 1
    seen = next(index for index, level in enumerate(levels) if level > 120) / FPS
    first_light = moments[moments >= clap][0]
    assert first_light <= seen <= first_light + 1 / FPS
    samples, since = sound_of(path)
    loud = np.flatnonzero(np.abs(samples) > 0.2)
    assert since + loud.mean() / RATE == pytest.approx(clap, abs=0.03)
    assert not (tmp_path / "recording").exists()


def test_a_gap_in_the_sound_is_silence(tmp_path):
    recording = Recording(tmp_path / "recording")
    for number in range(50):
        recording.add_frame(number / 25, as_jpeg(np.zeros((16, 16, 3), np.uint8)))
    tone = (8000 * np.sin(np.arange(4800) / 7)).astype("<i2").tobytes()
    recording.add_sound(0.0, RATE, tone)
    recording.add_sound(1.5, RATE, tone)
    _, path = made(recording, tmp_path)
    samples, since = sound_of(path)
    loud = np.flatnonzero(np.abs(samples) > 0.1) / RATE + since
    assert loud.min() < 0.05 and not ((loud > 0.2) & (loud < 1.4)).any()
    assert 1.45 < loud[loud > 1].min() < 1.6


def test_nothing_recorded_is_refused(tmp_path):
    recording = Recording(tmp_path / "recording")
    with pytest.raises(InputError, match="nothing was recorded"):
        made(recording, tmp_path)
    assert not (tmp_path / "recording").exists()


def test_sound_of_another_rate_is_refused(tmp_path):
    recording = Recording(tmp_path / "recording")
    with pytest.raises(InputError, match="expected one rate"):
        recording.add_sound(0.0, 4, b"")
    recording.add_sound(0.0, RATE, b"\0\0")
    with pytest.raises(InputError, match="expected one rate"):
        recording.add_sound(0.0, 44_100, b"\0\0")
    recording.drop()
