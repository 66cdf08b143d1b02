"""Runs a SavedModel with TensorFlow's own command saved_model_cli, without this project's code."""

import subprocess
import sys

import numpy as np

_CODE = "import sys; from tensorflow.python.tools.saved_model_cli import main; sys.exit(main())"


def frames_by_cli(folder, landmarks, scratch):
    """Frames uint8 [B, H, W, 3] by `serving_default` of the version in `folder`.

    Args:
      folder: of the version.
      landmarks: float32 [B, 68, 2].
      scratch: folder for temporary files.
    """
    np.save(scratch / "landmarks.npy", landmarks)
    command = [
        sys.executable, "-c", _CODE, "run", "--dir", folder, "--tag_set", "serve",
        "--signature_def", "serving_default", "--inputs",
        f"landmarks={scratch / 'landmarks.npy'}", "--outdir", scratch / "out",
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return np.load(scratch / "out" / "frames.npy")
