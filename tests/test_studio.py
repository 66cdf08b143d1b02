"""The studio's messages, by plain requests: refusals, live sessions, films, recordings, tabs."""

import json
import shutil
import struct
import threading
import time
import zlib
from urllib.parse import quote

import av
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from tests import studio_fixtures
from tests.face_points import COLLINS
from tests.serving_fixtures import wait_until
from tests.studio_fixtures import as_jpeg, as_png, camera_pictures
from tf_talkinghead.data import video
from tf_talkinghead.disclosure import verification
from tf_talkinghead.studio import controls


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    """A visitor of a studio with a random avatar, ann, and bob, who is the same."""
    models = studio_fixtures.publish_ann(tmp_path_factory.mktemp("models"))
    shutil.copytree(models / "ann", models / "bob")
    with studio_fixtures.open_studio(models) as visitor:
        yield visitor


@pytest.fixture
def driver(tmp_path):
    """A film of the moving portrait with a second of sound."""
    pictures, sound = camera_pictures(25), tmp_path / "sound.wav"
    studio_fixtures.write_sound(sound, np.sin(np.arange(48_000) / 20) * 0.5)
    path = tmp_path / "driver.mp4"
    video.write_video(path, pictures, 25, audio_from=sound)
    return path


def test_the_gallery_shows_people_cards_and_neutral_frames(visitor):
    _, people, _ = visitor.ask("GET", "/api/people")
    assert [person["name"] for person in people] == ["ann", "bob"]
    _, card, _ = visitor.ask("GET", "/api/people/ann")
    np.testing.assert_allclose(card["reference_landmarks"], COLLINS, atol=1e-5)
    _, jpeg, headers = visitor.ask("GET", "/api/people/ann/neutral.jpg")
    assert headers["Content-Type"] == "image/jpeg" and jpeg[:2] == b"\xff\xd8"
    assert visitor.refused("GET", "/api/people/cleo") == "there is no avatar called cleo"
    assert "expected 1 to 64 letters" in visitor.refused("GET", "/api/people/..%5Cx")


def test_every_slider_rests_where_the_expression_does():
    about = controls.describe()
    rest = controls.expression_of({})
    for slider in about["sliders"]:
        steps = (slider["rest"] - slider["low"]) / slider["step"]
        assert steps == pytest.approx(round(steps), abs=1e-6), slider["name"]
        assert slider["low"] < slider["rest"] < slider["high"]
        if not slider["gaze"]:
            assert getattr(rest, slider["name"]) == slider["rest"]
    for preset in about["presets"]:
        controls.expression_of(preset["expression"])


def test_a_slider_changes_the_frame_and_reset_brings_it_back(visitor):
    with visitor.live("ann") as tab:
        assert tab.hello == {"type": "ready", "gaze": True}
        still = tab.posed(1)
        turned = tab.posed(2, expression={"yaw": 20})
        assert np.abs(np.int32(turned) - still).mean() > 2
        np.testing.assert_array_equal(tab.posed(3), still)
        aside = tab.posed(4, expression={"gaze_x": 0.2})
        assert np.abs(np.int32(aside) - still).max() > 10


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"type": "pose", "expression": {"nose": 1}}, "there is no 'nose'"),
        ({"type": "pose", "expression": {"yaw": "far"}}, "yaw: expected a number"),
        ({"type": "pose", "strengths": {"lips": 9}}, "lips: expected a strength from 0 to 1.5"),
        ({"type": "dance"}, "no message of type 'dance'"),
        ([1], "expected a message as a JSON object"),
        ("[" * 100_000, "expected a message as a JSON object"),
    ],
    ids=["name", "value", "strength", "type", "list", "nested"],
)
def test_a_message_that_cannot_be_is_refused_in_words(visitor, message, why):
    with visitor.live("ann") as tab:
        tab.socket.send(message if isinstance(message, str) else json.dumps(message))
        said, _ = tab.answer()
        assert said["type"] == "refused" and why in said["why"]
        with pytest.raises(ConnectionClosed):
            tab.answer()
    wait_until(lambda: not visitor.studio.sessions)


def test_camera_frames_are_bounded_before_they_are_decoded(visitor):
    huge = bytearray(as_jpeg(np.zeros((16, 16, 3), np.uint8)))
    size = huge.index(b"\xff\xc0") + 5  # height and width of the frame header
    huge[size : size + 4] = struct.pack(">HH", 60_000, 60_000)
    for frame, why in (
        (bytes(huge), "at most 1280 pixels"),
        (as_jpeg(np.zeros((1300, 10, 3), np.uint8)), "it has 10 x 1300"),
        (b"not a jpeg", "expected a JPEG"),
    ):
        with visitor.live("ann") as tab:
            tab.send(type="camera", on=True)
            tab.frame(0.0, frame)
            said, _ = tab.answer()
            assert said["type"] == "refused" and why in said["why"]


def test_the_camera_moves_the_avatar_and_a_closed_tab_frees_all(visitor):
    before = threading.active_count()
    jpegs = [as_jpeg(picture) for picture in camera_pictures(12)]
    with visitor.live("ann") as tab:
        tab.frame(0.0, jpegs[0])  # the camera is not on: no answer
        tab.send(type="camera", on=True)
        moments = []
        for number, jpeg in enumerate(jpegs):
            tab.frame(40.0 * (number + 1), jpeg)
            head, picture = tab.answer()
            moments.append(head["moment"])
            assert head["seen"] and picture[:2] == b"\xff\xd8" and head["delay"] > 0
        assert moments == [40.0 * (number + 1) for number in range(len(jpegs))]
        assert visitor.studio.live()
        # The tab is closed in the middle of a frame.
        tab.frame(1000.0, jpegs[0])
    wait_until(lambda: not visitor.studio.sessions and not visitor.studio.live())
    wait_until(lambda: threading.active_count() <= before + 2)  # idle threads of the pool


def test_two_tabs_share_the_machine(visitor):
    jpeg, counts = as_jpeg(camera_pictures(2)[0]), {}

    def drive(person):
        with visitor.live(person) as tab:
            tab.send(type="camera", on=True)
            counts[person], end = 0, time.monotonic() + 2.0
            while time.monotonic() < end:
                tab.frame(1e3 * time.monotonic(), jpeg)
                tab.answer()
                counts[person] += 1

    tabs = [threading.Thread(target=drive, args=(name,)) for name in ("ann", "bob")]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join(60)
    assert min(counts.values()) > 0.25 * max(counts.values()) > 0, counts


def test_the_stage_shows_who_moves_the_avatar(visitor):
    wait_until(lambda: not visitor.studio.sessions)
    with visitor.socket("/api/stage/ann") as stage:
        _, neutral, _ = visitor.ask("GET", "/api/people/ann/neutral.jpg")
        assert stage.recv(timeout=60) == neutral
        with visitor.live("ann") as tab:
            tab.send(type="pose", tag=1, expression={"yaw": 15})
            head, jpeg = tab.answer()
            assert head["tag"] == 1 and stage.recv(timeout=60) == jpeg
    with visitor.socket("/api/stage/cleo") as nobody, pytest.raises(ConnectionClosed):
        nobody.recv(timeout=60)


def test_a_film_is_driven_kept_signed_and_deleted(visitor, driver):
    wanted = json.dumps({"side_by_side": True, "strengths": {"pose": 0.5}})
    path = f"/api/people/ann/films?name=me%20talking.mp4&wanted={quote(wanted)}"
    _, answer, _ = visitor.ask("PUT", path, driver.read_bytes())
    job = visitor.finished(answer["job"])
    assert job["state"] == "done", job
    _, films, _ = visitor.ask("GET", "/api/films")
    film = job["result"]
    assert films == [film] and film["title"] == "me talking.mp4" and film["sound"]
    assert film["frames"] == 25 and film["fps"] == 25
    _, mp4, headers = visitor.ask("GET", f"/films/ann/{film['id']}.mp4?save")
    assert headers["Content-Disposition"].startswith('attachment; filename="ann-')
    kept = driver.with_name("kept.mp4")
    kept.write_bytes(mp4)
    with av.open(str(kept)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (128, 64) and container.streams.audio
    finding = verification.verify(kept)
    assert finding.metadata and finding.signature.state == "unknown signer"
    said = visitor.ask("PUT", "/api/check?name=kept.mp4", mp4)[1]
    assert said["marked"] and said["sentence"].startswith("kept.mp4: marked as AI-generated")
    assert list(visitor.studio.uploads.iterdir()) == []
    # The player asks for parts.
    status, part, _ = visitor.ask("GET", f"/films/ann/{film['id']}.mp4", Range="bytes=0-9")
    assert status == 206 and part == mp4[:10]
    visitor.ask("DELETE", f"/api/films/ann/{film['id']}")
    assert visitor.ask("GET", "/api/films")[1] == []
    assert "no such film" in visitor.refused("GET", f"/films/ann/{film['id']}.mp4")


def test_a_film_without_a_face_is_refused_in_words(visitor, tmp_path):
    video.write_video(tmp_path / "grey.mp4", np.full((8, 64, 64, 3), 90, np.uint8), 25)
    content = (tmp_path / "grey.mp4").read_bytes()
    _, answer, _ = visitor.ask("PUT", "/api/people/ann/films?name=grey.mp4", content)
    job = visitor.finished(answer["job"])
    assert job["state"] == "failed" and job["error"].startswith("grey.mp4: no face")
    both = quote('{"paste_back": true, "side_by_side": true}')
    path = f"/api/people/ann/films?name=grey.mp4&wanted={both}"
    assert "not both" in visitor.refused("PUT", path, content)


def test_a_live_recording_becomes_a_signed_film_with_sound(visitor):
    jpegs = [as_jpeg(picture) for picture in camera_pictures(20)]
    with visitor.live("ann") as tab:
        tab.send(type="camera", on=True)
        tab.send(type="record", on=True)
        assert tab.answer()[0] == {"type": "recording"}
        for number, jpeg in enumerate(jpegs):
            silence = bytes(2 * 4410)
            moment = 5000.0 + 100.0 * number
            tab.socket.send(struct.pack("<BdI", 2, moment, 44_100) + silence)
            tab.frame(moment, jpeg)
            assert tab.answer()[0]["moment"] == moment
        tab.send(type="record", on=False)
        said, _ = tab.answer()
    assert said["type"] == "recorded"
    job = visitor.finished(said["job"])
    assert job["state"] == "done", job
    assert job["result"]["seconds"] == pytest.approx(1.9, abs=0.09) and job["result"]["sound"]
    visitor.ask("DELETE", f"/api/films/ann/{job['result']['id']}")
    assert list(visitor.studio.recordings.iterdir()) == []


def begun(visitor):
    return visitor.ask("POST", "/api/drafts", {})[1]["draft"]


def bomb(width, height):
    """A PNG of `width` x `height` pixels that is 100 bytes large."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, content) for kind, content in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    )


def test_photos_are_looked_at_one_by_one(visitor, portrait):
    draft = begun(visitor)
    put = lambda name, content: visitor.ask(
        "PUT", f"/api/drafts/{draft}/files?name={name}", content
    )[1]
    good = put("eileen.png", as_png(portrait))
    assert good["good"] and good["why"] is None and len(good["crops"]) == 1
    points = np.array(good["crops"][0]["landmarks"])
    assert points.shape == (68, 2) and 0.2 < points.mean() < 0.8
    two = np.concatenate([portrait[:300, 60:400], portrait[:300, 60:400]], axis=1)
    expected = {
        "two.png": (as_png(two), "2 faces"),
        "grey.png": (as_png(np.full((200, 200, 3), 99, np.uint8)), "no face"),
        "small.png": (as_png(portrait[::6, ::6].copy()), "face"),
        "notes.jpg": (b"these are notes and no picture", "the file's content is something else"),
        "bomb.png": (bomb(20_000, 10_000), "at most 64 million pixels"),
        "large.png": (bomb(9_000, 8_000), "9000 x 8000 pixels"),
        "short.png": (as_png(portrait)[:5000], ""),
        "none.png": (b"", "empty"),
    }
    for name, (content, why) in expected.items():
        found = put(name, content)
        assert not found["good"] and why in found["why"], found
        assert "--" not in found["why"] and "/" not in found["why"], found
    folder = visitor.studio.drafts.get(draft).folder
    assert len(list(folder.iterdir())) == 1, "only the good one is kept"
    visitor.ask("DELETE", f"/api/drafts/{draft}")
    assert not folder.exists()
    assert "add them again" in visitor.refused(
        "PUT", f"/api/drafts/{draft}/files?name=a", b"x" * 20
    )


def test_nothing_starts_without_consent_a_photo_and_a_free_name(visitor, portrait):
    draft = begun(visitor)
    make = lambda **given: visitor.refused("POST", "/api/people", {"draft": draft, **given})
    assert "nothing starts without consent" in make(name="eileen")
    assert "nothing starts without consent" in make(name="eileen", agreed="yes")
    assert "add a photo" in make(name="eileen", agreed=True)
    content = as_png(portrait)
    visitor.ask("PUT", f"/api/drafts/{draft}/files?name=a.png", content)
    assert "an avatar called ann already" in make(name="ann", agreed=True)
    for name in ("", ".hidden", "a/b", "bank", "models.config"):
        assert "person" in make(name=name, agreed=True)
    visitor.ask("DELETE", f"/api/drafts/{draft}")
