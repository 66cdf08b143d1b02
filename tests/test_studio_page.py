"""The studio's page in a real browser: keyboard, dialogs, accessibility, narrow and dark."""

import pathlib
import shutil
import subprocess

import pytest

from tests import studio_fixtures, toy_models
from tests.chromium import Chromium

READY = "window.studio?.live.measured.frames > 0 && !document.querySelector('#slider-yaw').disabled"
PICTURE = "document.getElementById('frame').toDataURL()"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of a studio with a random avatar and a toy one."""
    models = studio_fixtures.publish_ann(tmp_path_factory.mktemp("models"))
    toy_models.publish(models, "bob", 1)
    with studio_fixtures.open_studio(models) as visitor:
        yield visitor.address + "/"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("chromium"), width=1440, height=1000) as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    """The studio's page, anew, with the first avatar shown."""
    browser.look(1440, 1000)
    browser.visit(address)
    browser.wait(READY)
    return browser


def press(page, key, code, times=1):
    for _ in range(times):
        for kind in ("rawKeyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)


def text(page, selector):
    return page.evaluate(f"document.querySelector({selector!r}).textContent")


def test_a_slider_by_keyboard_moves_the_picture(page):
    still = page.evaluate(PICTURE)
    page.evaluate("document.getElementById('slider-yaw').focus()")
    press(page, "ArrowRight", 39, 30)
    assert text(page, "#slider-yaw ~ output") == "+15°"
    said = page.evaluate("document.getElementById('slider-yaw').getAttribute('aria-valuetext')")
    assert said == "+15°, right"
    page.wait(f"{PICTURE} !== {still!r}")
    page.click("#reset")
    page.wait(f"{PICTURE} === {still!r}")
    page.click("#presets button:nth-child(2)")
    page.wait("document.querySelector('#slider-jaw ~ output').textContent === '+0.20'")
    page.wait(f"{PICTURE} !== {still!r}")


def test_another_person_is_chosen(page):
    ann = page.evaluate(PICTURE)
    page.click("#people li:nth-child(2) button")
    page.wait(f"document.title.startsWith('bob') && {READY} && {PICTURE} !== {ann!r}")
    assert text(page, "#who") == "bob"
    assert page.evaluate("document.querySelectorAll('[aria-current]').length") == 1


def test_dialogs_open_refuse_and_close_by_keyboard(page):
    page.click("#open-card")
    page.wait("document.getElementById('card').textContent.includes('none was stated')")
    press(page, "Escape", 27)
    page.wait("!document.querySelector('dialog[open]')")
    assert page.evaluate("document.activeElement.id") == "open-card"
    page.click("#new-person")
    page.wait("document.getElementById('person-dialog').open && window.studio")
    page.click("#person-make")
    page.wait("document.getElementById('person-status').textContent.includes('consent')")
    press(page, "Escape", 27)
    page.click("#delete-person")
    assert text(page, "#delete-title") == "Delete ann?"
    press(page, "Escape", 27)
    page.wait("!document.querySelector('dialog[open]')")
    assert page.evaluate("window.studio.people.names") == ["ann", "bob"]


def test_a_film_that_is_none_is_refused_on_the_page(page, tmp_path):
    (tmp_path / "notes.mp4").write_text("these are notes and no film")
    page.choose_files("#film", tmp_path / "notes.mp4")
    page.wait("document.getElementById('jobs').textContent.includes('something else')")
    page.click("#open-check")
    page.choose_files("#check-file", tmp_path / "notes.mp4")
    page.wait("document.getElementById('check-status').textContent.includes('something else')")


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1440, 900)])
def test_nothing_is_cut_off_at_any_width(page, width, height):
    page.look(width, height)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#new-person")
    assert page.evaluate(
        "(() => { const d = document.getElementById('person-dialog');"
        " const b = d.getBoundingClientRect();"
        " return b.left >= 0 && b.right <= innerWidth && d.scrollWidth <= d.clientWidth; })()"
    )


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The source of axe-core, from the npm registry."""
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=0", "axe-core@4.14"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if made.returncode:
        pytest.skip(f"npm cannot install axe-core here: {made.stderr.strip().splitlines()[-1:]}")
    return pathlib.Path(folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(page, axe, dark):
    page.evaluate(axe + "; 0")
    for width, opened in ((1440, None), (360, None), (1440, "#new-person"), (1440, "#open-check")):
        page.look(width, 900, dark)
        if opened:
            page.click(opened)
        page.evaluate("new Promise((done) => setTimeout(done, 300))")  # colours fade
        found = page.evaluate(
            "axe.run({resultTypes: ['violations']}).then(({violations}) => violations.map("
            "(v) => [v.impact, v.id, v.nodes.map((n) => n.html.slice(0, 90)).join(' | ')]))"
        )
        assert not [each for each in found if each[0] in ("serious", "critical")], found
        press(page, "Escape", 27)
    page.look(1440, 900)


def test_the_stage_page_is_a_square_on_the_chosen_colour(page, address):
    page.visit(address + "stage/ann?colour=ff00ff")
    page.wait("!document.getElementById('frame').hidden")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 0, 255)"
    assert "Nothing is cut out" in text(page, "#bar")
    page.visit(address + "stage/cleo")
    page.wait("document.getElementById('status').textContent.includes('no avatar called cleo')")
