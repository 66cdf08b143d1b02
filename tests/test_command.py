"""Every script: --help teaches on stdout and ends well, a bad flag is one line on stderr and exit code 1."""

import os
import subprocess
import sys

import pytest

from tests.script_runner import ROOT, run_script, run_scripts

SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if path.stem not in ("__init__", "command")
)


@pytest.fixture(scope="module")
def results():
    return run_scripts(
        {name: [["--help"], ["--no_such_flag=1"], ["--seed=no", "word"]] for name in SCRIPTS}
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_bad_flags(results, name):
    helped, unknown, extra = results[name]
    assert helped.code == 0 and f"python -m scripts.{name}" in helped.stdout and helped.stderr == ""
    assert "flags:" in helped.stdout and "--pdb" not in helped.stdout
    for result in (unknown, extra):
        assert result.code == 1 and result.stdout == ""
        assert (
            result.stderr.startswith("error: ") and len(result.stderr.strip().splitlines()) == 1
        ), result.stderr
    assert "no_such_flag" in unknown.stderr and "--help" in unknown.stderr


HEAVY = {"tensorflow", "keras", "dlib", "cv2", "apache_beam"}
_HELP_AND_MODULES = """
import runpy, sys
sys.argv = ["scripts.%(name)s", "--help"]
try:
    runpy.run_module("scripts.%(name)s", run_name="__main__", alter_sys=True)
except SystemExit as end:
    print("exit code", end.code)
print("imported", *sorted({module.split(".")[0] for module in sys.modules}))
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_imports_no_heavy_package(name):
    """A fresh interpreter runs `python -m scripts.NAME --help`, then lists what it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", _HELP_AND_MODULES % {"name": name}],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *_, code, imported = done.stdout.splitlines()
    assert code == "exit code 0" and {"absl", "scripts"} <= set(imported.split())
    assert not HEAVY & set(imported.split())


def test_what_is_missing_is_named():
    (result,) = run_script("drive", ["--output=a.mp4"])
    assert (
        result.stderr == "error: --person is needed. --driver is needed. (--help lists the flags)\n"
    )


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full"
)
def test_a_full_disk_is_one_line(tmp_path):
    (tmp_path / "collins.png").symlink_to("/dev/full")
    (result,) = run_script("quickstart", [f"--output={tmp_path}"])
    assert result.code == 1 and result.stderr == "error: No space left on device\n"
