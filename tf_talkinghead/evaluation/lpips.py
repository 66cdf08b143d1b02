"""LPIPS (Zhang et al., CVPR 2018) by a frozen TensorFlow graph that the user names.

    lpips = Lpips("net-lin_alex_v0.1.pb")
    lpips(truth, rendered)                  # uint8 [B,H,W,3] each -> float [B], 0 for equal frames

Its weights are not shipped. The file is one of those of github.com/alexlee-gk/lpips-tensorflow, or
has their form: inputs "0" and "1", float32 [B,3,H,W] from -1 to 1; the last node is the distance,
[B] or [B,1,1,1]. Figures of different networks (alex, vgg, squeeze) cannot be compared. A graph may
read and write files: use one from people you trust.
"""

import pathlib

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tf_talkinghead.errors import InputError

_INPUTS = ("0", "1")
_BATCH = 8  # frames at a time: the features of 32 frames of 256 px would take 2 GB
_PROBE = 64  # pixels, enough for each of the networks


class Lpips:
    """The distance of pairs of frames.

    Args:
      path: the frozen graph.

    Raises:
      InputError: no such file, not a frozen graph, or not one of LPIPS's form.
    """

    def __init__(self, path):
        try:
            graph = tf.compat.v1.GraphDef.FromString(pathlib.Path(path).read_bytes())
        except OSError as error:
            raise InputError(f"--lpips={path}: {error.strerror}") from error
        except DecodeError as error:
            raise InputError(
                f"--lpips={path}: not a frozen TensorFlow graph; expected a .pb file of "
                "lpips-tensorflow, such as net-lin_alex_v0.1.pb"
            ) from error
        missing = set(_INPUTS) - {node.name for node in graph.node}
        if missing:
            raise InputError(
                f"--lpips={path}: the graph has no input called {', '.join(sorted(missing))}; "
                "expected a .pb file of lpips-tensorflow"
            )
        try:
            whole = tf.compat.v1.wrap_function(
                lambda: tf.graph_util.import_graph_def(graph, name=""), []
            )
            ends = [f"{name}:0" for name in (*_INPUTS, graph.node[-1].name)]
            self._distance = whole.prune(ends[:2], ends[2])
            rng = np.random.default_rng(0)
            probe = rng.integers(0, 256, (2, 2, _PROBE, _PROBE, 3)).astype(np.uint8)
            same, apart = self(probe[0], probe[0]), self(*probe)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise InputError(f"--lpips={path}: {str(error).splitlines()[0]}") from error
        if not (np.abs(same).max() < 1e-4 and (apart > 1e-3).all()):
            raise InputError(
                f"--lpips={path}: not a distance: {same[0]:.3g} for two equal pictures and "
                f"{apart[0]:.3g} for noise; expected 0 and more than 0"
            )

    def __call__(self, truth, rendered) -> np.ndarray:
        """The distance of each frame, float32 [B]; both are uint8 [B,H,W,3]."""
        parts = []
        for first in range(0, len(truth), _BATCH):
            part = slice(first, first + _BATCH)
            pair = [_planes(images[part]) for images in (truth, rendered)]
            parts.append(np.reshape(self._distance(*pair), len(pair[0])))
        return np.concatenate(parts)


def _planes(images):
    """uint8 [B,H,W,3] -> float32 [B,3,H,W] from -1 to 1."""
    return tf.constant(np.float32(images).transpose(0, 3, 1, 2) / 127.5 - 1)
