"""quickstart.sh and test.sh on machines that lack something: one clear line, no traceback, nothing
half made.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = ("quickstart.sh", "test.sh")


@pytest.fixture
def checkout(tmp_path):
    """A folder with nothing but what set-up reads."""
    (tmp_path / "scripts").mkdir()
    for name in (*SCRIPTS, "setup.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    return tmp_path


def program(folder, name, body):
    """A stand-in for a program, first on the PATH."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def bash(checkout, *arguments, bin_folder=None):
    path = f"{bin_folder}:/usr/bin:/bin" if bin_folder else os.environ["PATH"]
    environment = {"PATH": path, "HOME": str(checkout)}
    return subprocess.run(
        ["bash", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches_before_anything_is_installed(checkout, script):
    result = bash(checkout, f"scripts/{script}", "--help")
    assert result.returncode == 0 and "Usage: bash scripts/" in result.stdout
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_that_is_too_old_is_named(checkout, tmp_path, script):
    """Every Python on the PATH is 3.9.

    The message says which are needed, which was found and what to install.
    """
    (tmp_path / "bin").mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        program(tmp_path / "bin", name, 'case "$2" in *platform*) echo 3.9.2;; *) exit 1;; esac')
    result = bash(checkout, f"scripts/{script}", bin_folder=tmp_path / "bin")
    assert result.returncode == 1
    assert "error: Python 3.11, 3.12 or 3.13 is needed; found: 3.9.2" in result.stderr
    assert "apt install python3" in result.stderr and not (checkout / ".venv").exists()


def test_a_python_without_venv_is_named(checkout, tmp_path):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "python3", 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac')
    result = bash(checkout, "scripts/test.sh", bin_folder=tmp_path / "bin")
    assert result.returncode == 1 and "apt install python3-venv" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and not (checkout / ".venv").exists()


def ready_made(checkout, pip="exit 0"):
    """A stand-in .venv whose Python runs nothing but says what it was asked for."""
    (checkout / ".venv/bin").mkdir(parents=True)
    program(
        checkout / ".venv/bin",
        "python",
        f'case "$1 $2" in "-c "*) exit 0;; "-m pip") echo PIP >&2; {pip};; *) echo "RAN $*";; esac',
    )


def test_it_installs_once_and_again_when_the_requirements_change(checkout):
    ready_made(checkout)
    first, second = (
        bash(checkout, "scripts/test.sh", "-k", "blink"),
        bash(checkout, "scripts/test.sh"),
    )
    assert "PIP" in first.stderr and "RAN -m pytest -n 2 --dist=loadfile -k blink" in first.stdout
    assert "PIP" not in second.stderr and "RAN -m pytest" in second.stdout
    with open(checkout / "requirements.txt", "a") as file:
        file.write("another-package\n")
    assert "PIP" in bash(checkout, "scripts/test.sh").stderr


def test_a_failed_install_is_tried_again(checkout):
    ready_made(checkout, pip="exit 1")
    for _ in range(2):
        result = bash(checkout, "scripts/quickstart.sh")
        assert (
            result.returncode == 1 and "PIP" in result.stderr and "run this again" in result.stderr
        )
        assert "RAN" not in result.stdout


def test_quickstart_hands_its_flags_on_from_any_folder(checkout):
    ready_made(checkout)
    result = bash(
        checkout, str(checkout / "scripts/quickstart.sh"), "--images=a b.jpg", "--steps=3"
    )
    assert (
        result.returncode == 0
        and "RAN -m scripts.quickstart --images=a b.jpg --steps=3" in result.stdout
    )
