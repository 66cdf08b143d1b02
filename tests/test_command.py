"""Every script: --help teaches on stdout and ends well, a bad flag is one line on stderr and exit code 1."""

import pytest

from tests.script_runner import ROOT, run_script, run_scripts

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem not in ("__init__", "command"))


@pytest.fixture(scope="module")
def results():
    return run_scripts({name: [["--help"], ["--no_such_flag=1"], ["--seed=no", "word"]] for name in SCRIPTS})


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_bad_flags(results, name):
    helped, unknown, extra = results[name]
    assert helped.code == 0 and f"python -m scripts.{name}" in helped.stdout and helped.stderr == ""
    assert "flags:" in helped.stdout and "--pdb" not in helped.stdout
    for result in (unknown, extra):
        assert result.code == 1 and result.stdout == ""
        assert result.stderr.startswith("error: ") and len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "no_such_flag" in unknown.stderr and "--help" in unknown.stderr


def test_what_is_missing_is_named():
    (result,) = run_script("drive", ["--output=a.mp4"])
    assert result.stderr == "error: --person is needed. --driver is needed. (--help lists the flags)\n"
