"""Every script: --help teaches on stdout and ends well, a bad flag is one line on stderr and exit
code 1.

The same as a subcommand of `talkinghead`.
"""

import functools
import os
import subprocess
import sys
import tomllib

import pytest

from scripts import listing, startup
from tests.script_runner import ROOT, run_script
from tf_talkinghead.errors import InputError

SCRIPTS = list(listing.describe())


@functools.cache
def ended(*command):
    """`python -m COMMAND` as it ended."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_bad_flags(name):
    helped = ended(f"scripts.{name}", "--help")
    assert helped.returncode == 0 and helped.stderr == ""
    assert f"python -m scripts.{name}" in helped.stdout
    assert "flags:" in helped.stdout and "--pdb" not in helped.stdout
    for arguments in (["--no_such_flag=1"], ["--seed=no", "word"]):
        result = ended(f"scripts.{name}", *arguments)
        assert result.returncode == 1 and result.stdout == ""
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
        assert "--help" in result.stderr
    assert "no_such_flag" in ended(f"scripts.{name}", "--no_such_flag=1").stderr


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
    assert result.stderr == "error: --person is needed. (--help lists the flags)\n"


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full"
)
def test_a_full_disk_is_one_line(tmp_path):
    (tmp_path / "collins.png").symlink_to("/dev/full")
    (result,) = run_script("quickstart", [f"--output={tmp_path}"])
    assert result.code == 1 and result.stderr == "error: No space left on device\n"


def test_talkinghead_lists_the_scripts_without_importing_any():
    """The wheel's console command; it must answer where no package at all is installed."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entry == {"talkinghead": "scripts.__main__:main"}
    program = (
        "import sys; sys.argv = ['talkinghead', '--help']; sys.path.insert(0, '.')\n"
        "from scripts.__main__ import main; print('exit code', main())"
    )
    done = subprocess.run(  # -I -S: the standard library and this folder alone
        [sys.executable, "-I", "-S", "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == "" and done.stdout.endswith("exit code 0\n")
    assert [line.split()[0] for line in done.stdout.splitlines() if line[:2] == "  "] == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_subcommand_is_the_script(name):
    """The same help but for the program's name, and the same end of a wrong command line."""
    for flag in ("--help", "--no_such_flag=1"):
        script, command = ended(f"scripts.{name}", flag), ended("scripts", name, flag)
        assert (command.returncode, command.stderr) == (script.returncode, script.stderr)
        assert command.stdout == script.stdout.replace("python -m scripts.", "talkinghead ")


def test_an_unknown_subcommand_is_one_line():
    result = ended("scripts", "dance")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: no command 'dance'; one of: benchmark, drive")


def test_the_benchmark_times_every_help():
    figures = startup.run("tiny", {"repeats": "1"})
    assert set(figures) == {
        *(f"{name}_help_seconds" for name in [*SCRIPTS, "talkinghead"]),
        "python_alone_seconds",
    }
    assert all(0 < value < 100 for value in figures.values())
    with pytest.raises(InputError, match="repeats=none: expected a whole number"):
        startup.run("tiny", {"repeats": "none"})


def test_a_flag_whose_value_is_optional():
    from absl import flags

    from scripts import command

    given = {}
    for text in ("--made_up", "--made_up=a/b", "--nomade_up"):
        values = flags.FlagValues()
        command.define_optional_value("made_up", "Of this test.", __name__, values)
        values(["program", text])
        given[text] = values.made_up
    assert given == {"--made_up": True, "--made_up=a/b": "a/b", "--nomade_up": None}
