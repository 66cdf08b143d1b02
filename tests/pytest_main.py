"""Entry of every Bazel py_test: runs pytest on the given files and exits with its code."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
