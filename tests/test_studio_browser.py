"""The whole studio in a real browser, with the shipped weights and a camera fed from a clip:
a person from a photo, sliders, live driving, recording, a film by file, deletion.
"""

import base64
import json
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from tests import studio_fixtures
from tests.chromium import Chromium
from tests.moving_portrait import clip
from tests.studio_fixtures import Visitor, as_png
from tf_talkinghead.data import video
from tf_talkinghead.disclosure import verification
from tf_talkinghead.driving.expression import read_motion
from tf_talkinghead.driving.face_model import NAMES
from tf_talkinghead.faces.crops import default_landmarks
from tf_talkinghead.studio.server import running
from tf_talkinghead.studio.studio import StudioOptions

pytestmark = pytest.mark.slow

SECONDS = 20  # of live driving
READY = "window.studio?.live.measured.frames > 0 && !document.querySelector('#slider-yaw').disabled"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Ten seconds of the moving portrait in a grey picture, uint8 [250, 240, 320, 3]."""
    pictures = np.full((250, 240, 320, 3), 128, np.uint8)
    pictures[:, 20:220, 60:260] = clip(250, 200).images
    return pictures


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    """A visitor of a studio with nobody in it and an embedded server of its own."""
    models = tmp_path_factory.mktemp("studio") / "models"
    with running(StudioOptions(str(models))) as started:
        yield Visitor(started)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, driver):
    folder = tmp_path_factory.mktemp("chromium")
    camera = studio_fixtures.write_camera(folder / "camera.mjpeg", driver)
    tone = np.sin(2 * np.pi * 440 * np.arange(4 * 48_000) / 48_000) * 0.5
    microphone = studio_fixtures.write_sound(folder / "microphone.wav", tone)
    with Chromium(folder, camera, microphone, width=1440, height=1000) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser, visitor, portrait, tmp_path_factory):
    """The page after eileen was made in it, from a photo."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "eileen.png").write_bytes(as_png(portrait))
    (folder / "notes.jpg").write_text("notes and no photo")
    browser.visit(visitor.address + "/")
    browser.wait("window.studio")
    assert not browser.evaluate("document.getElementById('empty').hidden")
    browser.click("#new-person")
    browser.choose_files("#photos", folder / "eileen.png", folder / "notes.jpg")
    browser.wait("document.querySelectorAll('#shots .good circle').length === 68")
    browser.wait("document.querySelector('#shots .bad')?.textContent.includes('something else')")
    browser.evaluate("document.getElementById('person-name').value = 'eileen'")
    browser.click("#person-make")
    browser.wait("document.getElementById('person-status').textContent.includes('consent')")
    assert visitor.ask("GET", "/api/jobs")[1] == []
    browser.click("#agreed")
    browser.click("#person-make")
    browser.wait("document.getElementById('making-text').textContent.includes('left')")
    browser.wait("!document.getElementById('person-dialog').open", 120)
    browser.wait(READY)
    return browser


def picture(page):
    """What the canvas shows, uint8 [H, W, 3]."""
    return decoded(page.evaluate("document.getElementById('frame').toDataURL()"))


def decoded(uri):
    content = np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)


def moved(page, **sliders):
    """The picture that shows sliders as given and the others at rest."""
    before = page.evaluate("window.studio.live.tag")
    page.evaluate(
        "window.studio.controls.reset(false);"
        f"for (const [name, value] of Object.entries({json.dumps(sliders)})) {{"
        " const input = document.getElementById(`slider-${name}`);"
        " input.value = value; input.dispatchEvent(new Event('input')); }"
        + ("" if sliders else "document.getElementById('reset').click();")
    )
    page.wait(f"window.studio.live.tag > {before} && window.studio.live.poses.size === 0")
    return picture(page)


def test_the_card_states_the_consent(page, visitor):
    _, card, _ = visitor.ask("GET", "/api/people/eileen")
    assert set(card["consent"]) == {"statement", "by", "when"}
    assert card["consent"]["statement"].startswith("The person shown agreed")
    assert card["mode"] == "feed_forward" and card["watermark"]["present"]


def test_sliders_change_the_picture_in_the_right_place(page):
    still = np.int32(moved(page))
    model = default_landmarks()
    (face,) = model.detect(np.uint8(still))
    for sliders, points in (
        ({"jaw": 0.3}, slice(48, 68)),
        ({"lid_right": 0.7, "lid_left": 0.7}, slice(36, 48)),
        ({"brow_right": 0.12, "brow_left": 0.12}, slice(17, 27)),
    ):
        change = np.abs(moved(page, **sliders) - still).mean(-1)
        y, x = np.mgrid[: len(change), : len(change)]
        middle = np.array([(change * x).sum(), (change * y).sum()]) / change.sum()
        part = face.points[points].mean(0)
        assert change.max() > 30 and np.linalg.norm(middle - part) < 0.12 * len(change), sliders
    (turned,) = model.detect(moved(page, yaw=15))
    nose = face.points[30] - face.points[[0, 16]].mean(0)
    now = turned.points[30] - turned.points[[0, 16]].mean(0)
    assert now[0] - nose[0] > 3


def test_the_avatar_follows_the_camera(page, record_property):
    """Twenty seconds: every avatar's frame is compared with the camera's frame that it answers."""
    page.evaluate(
        """(() => {
          const { live } = window.studio;
          window.kept = { up: [], down: [] };
          const send = live.sendFrame.bind(live), draw = live.draw.bind(live);
          const uri = (blob) => new Promise((done) => {
            const reader = new FileReader();
            reader.onload = () => done(reader.result);
            reader.readAsDataURL(blob);
          });
          live.sendFrame = (blob, moment) => {
            window.kept.up.push([moment, blob]);
            return send(blob, moment);
          };
          live.draw = (data) => {
            const length = new DataView(data).getUint32(0, true);
            const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
            window.kept.down.push([head.moment, new Blob([new Uint8Array(data, 4 + length)])]);
            return draw(data);
          };
          window.pairs = async () => {
            const up = new Map(window.kept.up), found = [];
            for (const [moment, blob] of window.kept.down) {
              if (!up.has(moment) || !blob.size) continue;
              found.push([await uri(up.get(moment)), await uri(blob)]);
            }
            return found;
          };
        })()"""
    )
    moved(page)
    page.click("#camera")
    page.wait("window.studio.live.measured.seen === true")
    page.evaluate(f"new Promise((done) => setTimeout(done, {1000 * SECONDS}))")
    measured = json.loads(page.evaluate("JSON.stringify(window.studio.live.measured)"))
    assert "frames a second" in page.evaluate("document.getElementById('figures').textContent")
    page.click("#camera")
    pairs = page.evaluate("window.pairs()")
    page.evaluate("window.kept = { up: [], down: [] }")
    record_property("measured", measured)
    print(f"\n{len(pairs)} frames in {SECONDS} s, {measured}")
    assert len(pairs) > SECONDS / 2 and measured["delay"] > 0
    # The first seconds look for the neutral face.
    numbers = [expressions([pair[k] for pair in pairs[len(pairs) // 5 :]]) for k in (0, 1)]
    known = np.isfinite(numbers).all(axis=(0, 2))
    assert known.mean() > 0.9
    agreed = {
        name: np.corrcoef(*(part[known, NAMES.index(name)] for part in numbers))[0, 1]
        for name in ("yaw", "roll", "jaw")
    }
    print(agreed)
    assert agreed["yaw"] > 0.8 and agreed["jaw"] > 0.7, agreed


def expressions(uris):
    """The numbers [T, 16] of faces in pictures, relative to the first; NaN where there is none."""
    model, points = default_landmarks(), []
    for uri in uris:
        found = model.detect(decoded(uri))
        points.append(found[0].points if found else np.full((68, 2), np.nan))
    points = np.stack(points) / 256
    known = np.isfinite(points).all(axis=(1, 2))
    numbers = np.full((len(points), len(NAMES)), np.nan)
    numbers[known] = read_motion(points[known], points[known][0])
    return numbers[:, : NAMES.index("gaze_x")]


def test_a_recording_has_sound_and_can_be_saved(page, visitor, tmp_path):
    page.click("#camera")
    page.wait("window.studio.live.measured.seen === true")
    page.click("#record")
    page.wait("document.getElementById('record').textContent === 'Stop'")
    page.evaluate("new Promise((done) => setTimeout(done, 4000))")
    page.click("#record")
    page.wait("!!document.querySelector('#films video')", 60)
    page.click("#camera")
    (film,) = visitor.ask("GET", "/api/films")[1]
    assert film["sound"] and 3 < film["seconds"] < 6
    path = tmp_path / "film.mp4"
    path.write_bytes(visitor.ask("GET", f"/films/eileen/{film['id']}.mp4")[1])
    with av.open(str(path)) as container:
        video_seconds = float(
            container.streams.video[0].duration * container.streams.video[0].time_base
        )
        samples = np.concatenate(
            [frame.to_ndarray()[0] for frame in container.decode(container.streams.audio[0])]
        )
        rate = container.streams.audio[0].rate
    assert abs(len(samples) / rate - video_seconds) < 0.3
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    assert np.abs(middle).max() > 0.1  # the tone
    finding = verification.verify(path)
    assert finding.marked and finding.metadata and finding.signature.state == "unknown signer"
    visitor.ask("DELETE", f"/api/films/eileen/{film['id']}")


def test_a_film_by_file_survives_a_reload(page, visitor, driver, tmp_path):
    sound = studio_fixtures.write_sound(tmp_path / "a.wav", 0.3 * np.sin(np.arange(96_000) / 9))
    video.write_video(tmp_path / "me.mp4", driver[:50], 25, audio_from=sound)
    page.click("input[name=shape][value=paste_back]")
    page.choose_files("#film", tmp_path / "me.mp4")
    page.wait("!!document.querySelector('#jobs progress')")
    page.call("Page.reload")
    page.wait(READY)
    page.wait("!!document.querySelector('#films video')", 120)
    link = page.evaluate("document.querySelector('#films a').getAttribute('href')")
    path = tmp_path / "film.mp4"
    path.write_bytes(visitor.ask("GET", link)[1])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # The whole portrait, not the square.
        assert (stream.width, stream.height) == (512, 512) and stream.frames == 50
        assert container.streams.audio
    said = subprocess.run(
        [sys.executable, "-m", "scripts.verify", str(path)], capture_output=True, text=True
    )
    assert said.returncode == 0 and "watermark" in said.stdout


def test_a_deleted_person_is_gone_with_films(page, visitor):
    page.click("#delete-person")
    page.click("#delete-confirm")
    page.wait("!document.getElementById('delete-dialog').open", 60)
    page.wait("!document.getElementById('empty').hidden")
    models = visitor.studio.gallery.models
    assert visitor.ask("GET", "/api/people")[1] == [] and visitor.ask("GET", "/api/films")[1] == []
    assert list(models.rglob("*eileen*")) == []
