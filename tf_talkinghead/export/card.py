"""The card of an avatar: who it shows, how it was made, and that its frames are AI-generated.

The `describe` signature returns the card as JSON; the same text lies in the version folder as
card.json.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import platform

import numpy as np

from tf_talkinghead.config import Config
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.provenance import NO_CONSENT, NOTICE, SOURCE_TYPE

CARD_FILE = "card.json"
CARD_SCHEMA = 1
PHOTO_NOTICE = "This avatar contains photographs of the person."
_PACKAGES = ("tensorflow", "keras", "numpy")


def make_card(
    person: str,
    config: Config,
    mode: str,
    reference_landmarks: np.ndarray,
    facts: dict,
    weights_hash: str,
    reference_pupils: np.ndarray | None = None,
) -> dict:
    """Makes the card of one published version, ready for json.dumps.

    Args:
      person: name of the model.
      config: the config the avatar was made with.
      mode: "fine_tune", "feed_forward", "vector" or "bank".
      reference_landmarks: [68, 2], a neutral frame of the person: what a client adapts a driver to.
      facts: what personalisation knows, by the names below; a missing one reads as null.
      weights_hash: `files.arrays_sha256` of the exported arrays.
      reference_pupils: [2, 2], pupils of the reference frame, where they are known.
    """
    return {
        "card_schema": CARD_SCHEMA,
        "person": person,
        "mode": mode,
        "preset": config.preset,
        "resolution": config.export.size or config.model.image_size,
        # Whether render_gaze and render_gaze_jpeg exist, which take the pupils too.
        "gaze": config.model.generator == "guided",
        "adain_size": adain_size(config.model),
        "max_batch_size": config.export.max_batch_size,
        "images": facts.get("images"),
        "steps": facts.get("steps"),
        "loss_before": facts.get("loss_before"),
        "loss_after": facts.get("loss_after"),
        "face_similarity": facts.get("face_similarity"),
        "seconds": facts.get("seconds"),
        "tradeoff": facts.get("tradeoff", []),
        "settings": {
            "personalize": dataclasses.asdict(config.personalize),
            "export": dataclasses.asdict(config.export),
        },
        "reference_landmarks": _listed(reference_landmarks),
        "reference_pupils": None if reference_pupils is None else _listed(reference_pupils),
        # Where the reference frame lies in its whole picture: x, y, side, rotation, width, height
        # and the picture's SHA-256 (personalization/ground.py).
        "crop": facts.get("crop"),
        "weights_sha256": weights_hash,
        "trained_weights_sha256": facts.get("trained_weights_sha256"),
        "trained_on": facts.get("trained_on"),
        "inputs_sha256": facts.get("inputs_sha256", []),
        "consent": facts.get("consent") or NO_CONSENT,
        "software": software(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "ai_generated": True,
        "digital_source_type": SOURCE_TYPE,
        "notice": NOTICE,
    }


def _listed(points):
    return np.round(np.asarray(points, np.float64), 6).tolist()


def precision(dtype: str, bfloat16_compute: bool) -> dict[str, str]:
    """The card's entries on number formats: of the weights on disk and of the convolutions."""
    return {
        "stored_dtype": dtype,
        "compute_dtype": "bfloat16" if bfloat16_compute else "float32",
    }


def photographs(photos) -> dict[str, int | str]:
    """The card's entries on the photos a guided avatar carries: number, and pixels a side."""
    return {
        "photos": len(photos),
        "photo_pixels": photos.images.shape[1],
        "photo_notice": PHOTO_NOTICE,
    }


def to_json(card: dict) -> str:
    """The card as text. NaN and infinity, which JSON lacks, raise ValueError."""
    return json.dumps(card, indent=1, allow_nan=False)


def software() -> dict[str, str]:
    """Versions of Python and of the packages that made the avatar."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}
