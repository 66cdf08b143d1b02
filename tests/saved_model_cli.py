"""Run a SavedModel with the command TensorFlow ships for it, which knows nothing of this
project.
"""

import subprocess
import sys

import numpy as np

_CODE = "import sys; from tensorflow.python.tools.saved_model_cli import main; sys.exit(main())"


def frames_by_cli(folder, landmarks, scratch):
    """uint8 [B, H, W, 3] of `serving_default` of the version in `folder`, for landmarks float32 [B,
    68, 2].
    """
    np.save(scratch / "landmarks.npy", landmarks)
    command = [
        sys.executable, "-c", _CODE, "run", "--dir", folder, "--tag_set", "serve",
        "--signature_def", "serving_default", "--inputs",
        f"landmarks={scratch / 'landmarks.npy'}", "--outdir", scratch / "out",
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return np.load(scratch / "out" / "frames.npy")
