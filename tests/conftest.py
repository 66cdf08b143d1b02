"""Fixtures shared by all tests. Nothing here needs a network, a GPU or footage that is not installed."""

import os
import pathlib

import pytest

from tf_talkinghead.config import preset


@pytest.fixture(scope="session")
def real_data():
    """The folder of real clips that TALKINGHEAD_REAL_DATA names; the test is skipped where it is absent."""
    folder = os.environ.get("TALKINGHEAD_REAL_DATA", "")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("needs real clips: set TALKINGHEAD_REAL_DATA to their folder")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def portrait():
    """Eileen Collins's portrait that ships with scikit-image, uint8 RGB [512, 512, 3]."""
    from skimage import data

    return data.astronaut()


@pytest.fixture(scope="session")
def tiny():
    """The 32-px preset."""
    return preset("tiny")
