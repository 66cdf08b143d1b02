"""Lint, format and import rules over the whole project, and that all who run them run the same."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.only_extra import ROOT


def checked(*command):
    """Nothing where the command succeeds, otherwise what it prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_finds_nothing():
    assert not checked(sys.executable, "-m", "ruff", "check", "--output-format=concise", ".")


def test_every_file_is_formatted():
    assert not checked(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_comments_and_docstrings_have_the_width_of_code():
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert ruff["line-length"] == 100 and "E" in ruff["lint"]["select"]
    assert "E501" not in ruff["lint"]["ignore"]


def test_rooms_import_downwards_only():
    assert not checked(
        sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"
    )


def test_the_import_contract_can_break(tmp_path):
    """The same contracts over a copy in which errors.py imports a package above it."""
    for folder in ("tf_talkinghead", "serving", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    with open(tmp_path / "tf_talkinghead/errors.py", "a") as file:
        file.write("\nimport tf_talkinghead.training.loop\nfrom absl import flags\n")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 1
    assert "Packages import downwards only BROKEN" in done.stdout
    assert "The library knows no flags BROKEN" in done.stdout


@pytest.fixture(scope="module")
def readme_commands():
    """The commands under README's heading "Two commands"."""
    section = (ROOT / "README.md").read_text().partition("## Two commands\n")[2]
    block = re.match(r"\n(?:<!--.*-->\n)?((?: {4}.*\n)+)", section)[1]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


def test_the_workflow_runs_the_readmes_commands_on_every_python(readme_commands):
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    (job,) = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert sorted(runs) == sorted(readme_commands) and len(runs) == 2
    pythons = job["strategy"]["matrix"]["python-version"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classifiers = " ".join(project["classifiers"])
    assert pythons == re.findall(r"Python :: (3\.\d+)", classifiers)
    assert project["requires-python"] == ">=3.11,<3.14"


def test_the_hooks_are_the_checks_of_the_tests():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = config["repos"]
    assert repository["repo"] == "local"  # no other repository is fetched
    hooks = [hook["entry"] for hook in repository["hooks"]]
    assert hooks == ["ruff format", "ruff check", "lint-imports"]
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(hook in contributing for hook in hooks)
