"""Example of a user's program: renders a clip as JPEGs and raw, reads the card, lists its imports.

    python tests/client_program.py localhost:8500 anna

It runs where only the extra `client` is installed; test_extras.py calls it.
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
