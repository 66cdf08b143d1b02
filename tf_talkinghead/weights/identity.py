"""Identity of trained weights: the SHA-256 of a name's or folder's weights, without loading them.

Cards of avatars hold it as `trained_weights_sha256`.
"""

import pathlib

from tf_talkinghead.errors import InputError
from tf_talkinghead.files import read_json
from tf_talkinghead.training.checkpoints import Checkpoints

DEMO = pathlib.Path(__file__).parent / "demo"
SHIPPED = {"demo": DEMO, "guided": DEMO.parent / "guided"}  # names that `load_trained` knows


def weights_sha256(source: str) -> str:
    """SHA-256 of the weights that `load_trained(source)` reads: of weights.npz, or of a snapshot.

    Args:
      source: "guided", "demo", or a folder, as in `weights.store.load_trained`.

    Raises:
      InputError: there are no weights, or the JSON file that describes them is damaged.
    """
    folder = SHIPPED.get(source, pathlib.Path(source))
    try:
        if (folder / "provenance.json").is_file():
            return str(read_json(folder / "provenance.json")["sha256"])
        if folder.parent.name == "checkpoints":
            return str(read_json(folder / "manifest.json")["sha256"])
        checkpoints = Checkpoints(folder / "checkpoints")
        step = checkpoints.best()[0]
        step = step if step in checkpoints.steps() else max(checkpoints.steps(), default=None)
        if step is not None:
            return str(read_json(checkpoints.path(step) / "manifest.json")["sha256"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder}: damaged weights ({error})") from error
    raise InputError(f"{folder}: no trained weights, and no run of meta_train")
