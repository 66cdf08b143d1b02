"""Entry of every Bazel py_test: runs pytest on the files given, so that a test that fails fails its
target.
"""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
