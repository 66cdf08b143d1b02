"""Frames in and out: rotation, variable rate, odd sizes, grey, alpha, names, sound, refusals."""

import fractions

import av
import numpy as np
import pytest
from PIL import Image

from tf_talkinghead.data import photos, video
from tf_talkinghead.errors import InputError


def _frames(count=8, height=48, width=64):
    """Grey level 20 + 20 t, with a red block in the upper left corner."""
    frames = np.stack([np.full((height, width, 3), 20 + 20 * t, np.uint8) for t in range(count)])
    frames[:, :16, :16] = (220, 30, 30)
    return frames


def _levels(frames):
    return [round((frame[30:40, 30:40].mean() - 20) / 20) for frame in frames]


def _write(path, frames, stamps=None, codec="libx264", rotation=0, pix_fmt="yuv420p", aspect=None):
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect:
            stream.sample_aspect_ratio = aspect
        base = fractions.Fraction(1, 10 if stamps is None else 1000)
        stream.codec_context.time_base = base
        for t, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = (t if stamps is None else stamps[t]), base
            out.mux(stream.encode(picture))
        out.mux(stream.encode())


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "mpg", "gif"])
def test_every_container(tmp_path, suffix):
    codecs = {
        "webm": ("libvpx-vp9", "yuv420p"),
        "avi": ("mpeg4", "yuv420p"),
        "mpg": ("mpeg2video", "yuv420p"),
        "gif": ("gif", "rgb8"),
    }
    codec, pix_fmt = codecs.get(suffix, ("libx264", "yuv420p"))
    path = tmp_path / f"clip.{suffix}"
    if suffix == "gif":
        images = [Image.fromarray(frame) for frame in _frames()]
        images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    elif suffix == "mpg":  # MPEG-2 knows few frame rates
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = 48, 64, pix_fmt
            for frame in _frames():
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
    else:
        _write(path, _frames(), codec=codec, pix_fmt=pix_fmt)
    clip = video.read_video(path)
    frames = list(clip.frames)
    assert clip.fps == pytest.approx(25 if suffix == "mpg" else 10, rel=0.02) and not clip.has_audio
    assert (
        _levels(frames) == list(range(8))
        and frames[0].shape == (48, 64, 3)
        and frames[0].dtype == np.uint8
    )
    assert frames[0][8, 8, 0] > 150 > frames[0][8, 8, 1]  # RGB, not BGR


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_mark(tmp_path, degrees):
    _write(tmp_path / "r.mp4", _frames(3), rotation=degrees)
    frame = next(video.read_video(tmp_path / "r.mp4").frames)
    expected = np.rot90(_frames(1)[0], degrees // 90)
    assert frame.shape == expected.shape and np.abs(frame.astype(int) - expected).mean() < 8


def test_pixels_that_are_not_square(tmp_path):
    _write(tmp_path / "wide.mp4", _frames(2), aspect=fractions.Fraction(2, 1))
    assert next(video.read_video(tmp_path / "wide.mp4").frames).shape == (48, 128, 3)


def test_variable_rate(tmp_path):
    stamps = [0, 100, 200, 300, 600, 900, 1000, 1100]
    _write(tmp_path / "v.mkv", _frames(), stamps)
    clip = video.read_video(tmp_path / "v.mkv")
    frames = list(clip.frames)
    assert clip.fps == pytest.approx(7 / 1.1, rel=1e-3) and len(frames) == clip.length == 8
    # instants 0, 157, 314, ... ms: what is on screen then
    assert _levels(frames) == [0, 1, 3, 3, 4, 4, 5, 7]
    chosen = video.read_video(tmp_path / "v.mkv", max_frames=4)
    assert _levels(chosen.frames) == [0, 3, 4, 7]  # nearest to 0, 367, 733, 1100 ms; all different


def test_evenly_spaced():
    times = np.arange(100) / 25
    assert video.spread(times, 4).tolist() == [0, 33, 66, 99]
    assert video.spread(times, 100).tolist() == list(range(100))
    assert video.spread(times[:3], 10).tolist() == [0, 1, 2]
    assert video.spread(times, 1).tolist() == [0]
    assert len(set(video.spread(times, 64).tolist())) == 64


def test_written_clip_comes_back(tmp_path):
    frames = _frames(6, 47, 63)  # odd sizes
    path = tmp_path / "ünï" / "clip 1.mp4"
    video.write_video(path, iter(frames), 12.5, metadata={"comment": "synthetic"})
    clip = video.read_video(path)
    read = np.stack(list(clip.frames))
    assert clip.fps == 12.5 and read.shape == (6, 48, 64, 3)
    np.testing.assert_array_equal(_levels(read), range(6))
    with av.open(str(path)) as container:
        assert (
            container.streams.video[0].codec_context.name == "h264"
            and container.metadata["comment"] == "synthetic"
        )
    assert [p.name for p in path.parent.iterdir()] == ["clip 1.mp4"]


def test_sound_is_kept_and_cut_to_the_video(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        picture = out.add_stream("libx264", rate=10)
        picture.height = picture.width = 32
        picture.pix_fmt = "yuv420p"
        sound = out.add_stream("aac", rate=16000)
        for t in range(20):
            out.mux(
                picture.encode(
                    av.VideoFrame.from_ndarray(
                        np.full((32, 32, 3), 9 * t, np.uint8), format="rgb24"
                    )
                )
            )
        out.mux(picture.encode())
        tone = (0.3 * np.sin(np.arange(32000) * 0.2)).astype(np.float32)
        for start in range(0, 32000, 1000):
            part = av.AudioFrame.from_ndarray(
                tone[None, start : start + 1000], format="fltp", layout="mono"
            )
            part.rate, part.pts = 16000, start
            out.mux(sound.encode(part))
        out.mux(sound.encode())
    assert video.read_video(tmp_path / "sound.mp4").has_audio
    video.write_video(tmp_path / "out.mp4", _frames(8), 10, audio_from=tmp_path / "sound.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert 0.7 * 16000 < len(heard) < 1.0 * 16000 and np.abs(heard).max() > 0.1


def test_photos(tmp_path):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:10] = (200, 100, 50)
    Image.fromarray(image).save(tmp_path / "a.png")
    clip = video.read_video(tmp_path / "a.png")
    np.testing.assert_array_equal(list(clip.frames), [image])
    assert clip.fps == 0 and clip.length == 1
    turned = Image.fromarray(image)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned clockwise
    turned.save(tmp_path / "b.jpg", exif=exif, quality=100, subsampling=0)
    shown = next(video.read_video(tmp_path / "b.jpg").frames)
    assert shown.shape == (30, 20, 3) and shown[:, 15].mean() > 80 > 20 > shown[:, 3].mean()
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.webp", lossless=True)
    grey = next(video.read_video(tmp_path / "grey.webp").frames)
    np.testing.assert_array_equal(grey, np.repeat(image[..., :1], 3, -1))
    alpha = np.dstack([image, np.zeros((20, 30), np.uint8)])
    alpha[:10, ..., 3] = 255
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    shown = next(video.read_video(tmp_path / "alpha.png").frames)
    assert (shown[10:] == 255).all() and (shown[:10] == image[:10]).all()
    Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(
        next(video.read_video(tmp_path / "deep.png").frames)[..., 1], image[..., 0]
    )


def test_files_of_no_use(tmp_path):
    def reason(name, data=None):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError) as caught:
            list(video.read_video(tmp_path / name).frames)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        return str(caught.value)

    assert "no such file" in reason("none.mp4")
    assert "empty" in reason("empty.mp4", b"")
    assert "unreadable" in reason("text.mp4", b"hello " * 100)
    assert "unreadable" in reason("text.jpg", b"hello " * 100)
    _write(tmp_path / "whole.mkv", _frames(8))
    video.write_video(
        tmp_path / "whole.mp4",
        np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8),
        10,
    )
    data = (tmp_path / "whole.mp4").read_bytes()  # its index stands at the front
    assert "truncated" in reason("cut.mp4", data[: len(data) // 2])
    damaged = bytearray(data)
    damaged[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    assert "damaged" in reason("holes.mp4", bytes(damaged))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
        tmp_path / "p.jpg"
    )
    data = (tmp_path / "p.jpg").read_bytes()
    assert "damaged" in reason("cut.jpg", data[: len(data) // 2])


def test_enormous(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MAX_PIXELS", 1000)
    Image.new("L", (40, 40)).save(tmp_path / "big.png")
    with pytest.raises(InputError, match="enormous .40 x 40"):
        video.probe(tmp_path / "big.png")
    _write(tmp_path / "big.mp4", _frames(2))
    with pytest.raises(InputError, match="enormous"):
        video.probe(tmp_path / "big.mp4")


def test_nothing_is_left_of_a_clip_that_cannot_be_written(tmp_path):
    def broken():
        yield from _frames(2)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        video.write_video(tmp_path / "x.mp4", broken(), 10)
    with pytest.raises(InputError, match="no frames"):
        video.write_video(tmp_path / "x.mp4", [], 10)
    with pytest.raises(InputError, match="positive"):
        video.write_video(tmp_path / "x.mp4", _frames(2), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        video.write_video(tmp_path / "file" / "x.mp4", _frames(2), 10)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
