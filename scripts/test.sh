#!/usr/bin/env bash
# Installs what is needed into .venv and runs the tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = "--help" ]; then
  cat <<'HELP'
Usage: bash scripts/test.sh [PYTEST ARGUMENTS]

Makes .venv (Python 3.11 to 3.13), installs requirements.txt, runs the tests. Nothing else is needed:
no GPU, no footage, no network beyond the packages.

  bash scripts/test.sh                              all but the slow ones, under eight minutes on two cores
  bash scripts/test.sh tests/test_driving.py -k blink
  bash scripts/test.sh -m slow                      the slow ones: soaks, long trainings
  TALKINGHEAD_REAL_DATA=DIR bash scripts/test.sh    also the tests on real clips, if you have them

PYTHON=/path/to/python names the Python to make .venv with.
HELP
  exit 0
fi

. scripts/setup.sh
set_up
# Two processes; the tests of one file run in one process, so that what they share, such as a server, starts once.
exec "$python" -m pytest -n 2 --dist=loadfile "$@"
