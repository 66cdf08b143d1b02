"""How every script starts and ends: absl flags in, one line for a user's error, exit code out."""

import sys

from absl import app

from tf_talkinghead.config import ConfigError
from tf_talkinghead.errors import TalkingHeadError


def run(main):
    """Run `main(argv)` under absl; a user's error becomes one line on stderr and exit code 1."""

    def guarded(argv):
        try:
            return main(argv)
        except (TalkingHeadError, ConfigError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    app.run(guarded)
