"""A service of the user's own: renders one clip both ways, reads the card, and says what it
imported.

    python tests/client_program.py localhost:8500 anna

Runs where only the extra `client` is installed; test_extras.py calls it.
"""

import json
import sys

import numpy as np

from serving.client import AvatarClient


def main(address, person):
    landmarks = np.full([3, 68, 2], 0.5, np.float32)
    with AvatarClient(address, person) as jpegs, AvatarClient(address, person, jpeg=False) as raw:
        report = {
            "card": raw.card(),
            "frames": raw.render(landmarks).tolist(),
            "jpeg_shape": jpegs.render(landmarks).shape,
            "imported": sorted({module.partition(".")[0] for module in sys.modules}),
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
