# Sourced by quickstart.sh and test.sh, never run by itself: makes .venv beside the sources and installs into it.
# Sets $python. It may run again: an environment that is complete for this requirements.txt is left as it is.

fail() { echo "error: $*" >&2; exit 1; }

# The first Python from 3.11 to 3.13; PYTHON=/path/to/python names one outright.
find_python() {
  local candidate found=""
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    command -v "$candidate" >/dev/null || continue
    found+=" $("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null)"
    "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null &&
      { command -v "$candidate"; return; }
  done
  fail "Python 3.11, 3.12 or 3.13 is needed; found:${found:- none}." \
    "Install one (Debian, Ubuntu: sudo apt install python3 python3-venv) or name it: PYTHON=/path/to/python bash $0"
}

set_up() {
  local base stamp started=$SECONDS
  python=.venv/bin/python
  if [ ! -x "$python" ] || ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
    base=$(find_python) || exit 1
    "$base" -c 'import venv, ensurepip' 2>/dev/null ||
      fail "$base cannot make environments: its venv module is missing (Debian, Ubuntu: sudo apt install python3-venv)"
    echo "making .venv with $("$base" --version)"
    "$base" -m venv --clear .venv || fail "cannot make .venv: see the message above"
  fi
  stamp=.venv/installed-requirements.txt
  if ! cmp -s requirements.txt "$stamp"; then
    echo "installing the packages of requirements.txt (about 2.5 GB on disk; some minutes, once)"
    "$python" -m pip install --disable-pip-version-check -qq -r requirements.txt ||
      fail "installing failed: see pip's message above; run this again to continue"
    cp requirements.txt "$stamp"
    echo "installed in $((SECONDS - started)) s"
  fi
  export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"  # hides TensorFlow's start-up messages
}
