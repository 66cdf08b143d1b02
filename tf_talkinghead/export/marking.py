"""Watermark of an exported version: its id, its key, and what the card says of them.

The card's `watermark` object is {"present": true, "id": eight hexadecimal digits, "key": "public"
or the name of a private key} or {"present": false, "why": ...}. Cards from before there was a
watermark have none.
"""

import dataclasses
from collections.abc import Sequence

from tf_talkinghead.config import Config
from tf_talkinghead.watermark.embedding import SMALLEST, Embedder
from tf_talkinghead.watermark.keys import PUBLIC_KEY, key_name
from tf_talkinghead.watermark.pattern import make_pattern
from tf_talkinghead.watermark.payload import avatar_id

# What the card of a bank's member says: the mark is that of the bank's version, which renders.
OF_THE_BANK = {"present": True, "id": None, "key": None, "of": "the bank's version"}


@dataclasses.dataclass(frozen=True)
class Marking:
    """The watermark of a version: what marks its frames, None where they are not, and the card's
    `watermark` object."""

    embedder: Embedder | None
    card: dict


def marking(
    config: Config, card: dict, key: bytes | None, rows: Sequence[int] | None = None
) -> Marking:
    """The watermark of the version that `card` describes.

    Args:
      config: of the avatar; `export.watermark` switches the mark off.
      card: whose person, weights and date make the id.
      key: None is the public one.
      rows: of a guided bank, the members' rows: their ids lie after the bank's own in the embedder,
        and the card's object has them as `rows`, {row: id}.
    """
    size = config.export.size or config.model.image_size
    if not config.export.watermark:
        return Marking(None, {"present": False, "why": "switched off at export"})
    if size < SMALLEST:
        return Marking(None, {"present": False, "why": f"{size} px; {SMALLEST} px are needed"})
    key = key or PUBLIC_KEY
    identity = avatar_id(card["person"], card["weights_sha256"], card["date"])
    described = {"present": True, "id": f"{identity:08x}", "key": key_name(key)}
    if rows is None:
        return Marking(Embedder(make_pattern(key), identity, size), described)
    own = {row: avatar_id(described["id"], str(row)) for row in rows}
    described["rows"] = {str(row): f"{number:08x}" for row, number in own.items()}
    return Marking(Embedder(make_pattern(key), [identity, *own.values()], size), described)
