"""The documentation: built strictly, every link leads somewhere, every flag exists, spelling."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import tf_talkinghead
from tests.chromium import Chromium

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "serving" / "README.md"])
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
COMMAND = re.compile(r"python -m scripts\.(\w+)|talkinghead (\w+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site that mkdocs builds, as a folder."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_nothing_is_fetched_from_elsewhere(site):
    for page in ROOT.glob("docs/*.md"):
        text = (site / f"{page.stem}.html").read_text()
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\s\">]+)", text)
        assert not loaded, (page.name, loaded)
    assert "personalisation" in (site / "search" / "search_index.json").read_text()


def test_search_works_in_a_browser_from_a_folder(site, tmp_path):
    """Without a server, where browsers start no workers."""
    with Chromium(tmp_path) as browser:
        browser.open(site / "index.html")
        browser.wait("document.readyState == 'complete'")
        browser.evaluate(
            """(() => {
                const field = document.querySelector("input[name=query]");
                field.focus();
                field.value = "watermark";
                field.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
            })()"""
        )
        browser.wait("document.querySelector('.md-search-result__item') !== null", 30)
        found = "[...document.querySelectorAll('.md-search-result__item h1')].map(h => h.innerText)"
        assert "Responsible use" in browser.evaluate(found)


def test_the_api_page_has_the_docstrings(site):
    text = (site / "api.html").read_text()
    for name in ("AvatarClient", "make_person", "refresh_person", "scripted_motion", "ssim"):
        assert re.search(rf"id=\"?[\w.]*{name}\b", text), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for target, _ in LINK.findall(page.read_text()):
        if not re.match(r"https?://|mailto:", target):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_named_beside_a_script_exist(page):
    """Every --flag on a line that names a script is one of that script's."""
    text = page.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        names = [a or b for a, b in COMMAND.findall(line)]
        if len(names) != 1 or not (ROOT / "scripts" / f"{names[0]}.py").exists():
            continue
        source = (ROOT / "scripts" / f"{names[0]}.py").read_text()
        source += (ROOT / "scripts" / "command.py").read_text()
        extra = ROOT / "scripts" / f"{names[0]}_flags.py"
        source += extra.read_text() if extra.exists() else ""
        command = line[line.index(names[0]) :].partition(" -- ")[0].split("`")[0]
        for flag in re.findall(r"(?<!-)--(?:no)?(\w+)", command):
            assert flag == "help" or f'"{flag}"' in source, (
                f"{page.name}: {names[0]} has no --{flag}"
            )


def test_one_version_everywhere():
    newest = re.search(
        r"^## (\d\S+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    citation = (ROOT / "CITATION.cff").read_text()
    assert newest[1] == tf_talkinghead.__version__
    assert f"version: {newest[1]}\n" in citation and f"date-released: {newest[2]}\n" in citation
    assert f'version = "{newest[1]}")' in (ROOT / "MODULE.bazel").read_text()


def test_spelling():
    if shutil.which("codespell", path=pathlib.Path(sys.executable).parent) is None:
        pytest.skip("codespell is not installed")
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "codespell")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
