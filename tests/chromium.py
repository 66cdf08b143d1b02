"""A headless Chromium for tests, which are skipped where there is none."""

import pytest

from tf_talkinghead.errors import InputError
from tf_talkinghead.studio import chromium


class Chromium(chromium.Chromium):
    """`studio.chromium.Chromium`; a missing browser skips the test."""

    def __init__(self, *arguments, **settings):
        try:
            super().__init__(*arguments, **settings)
        except InputError as error:
            pytest.skip(str(error))
