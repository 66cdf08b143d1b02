"""Watermark of an exported version: its id, its key, and what the card says of them.

The card's `watermark` object is {"present": true, "id": eight hexadecimal digits, "key": "public"
or the name of a private key} or {"present": false, "why": ...}. Cards of version 0.1 have none.
"""

import dataclasses
from collections.abc import Sequence

from tf_talkinghead.config import Config
from tf_talkinghead.errors import InputError
from tf_talkinghead.watermark.embedding import SMALLEST, Embedder
from tf_talkinghead.watermark.keys import PUBLIC_KEY, key_name
from tf_talkinghead.watermark.pattern import make_pattern
from tf_talkinghead.watermark.payload import avatar_id

# `watermark` in the card of a bank's member, whose frames carry the mark of the bank's version.
OF_THE_BANK = {"present": True, "id": None, "key": None, "of": "the bank's version"}


@dataclasses.dataclass(frozen=True)
class Marking:
    """The watermark of a version."""

    embedder: Embedder | None  # marks its frames; None: they are not marked
    card: dict  # the card's `watermark` object


def marking(
    config: Config, card: dict, key: bytes | None, rows: Sequence[int] | None = None
) -> Marking:
    """The watermark of the version that `card` describes.

    Args:
      config: of the avatar; `export.watermark` switches the mark off.
      card: the version's card; the id is a hash of its person, weights_sha256 and date.
      key: the watermark's key; None is the public one.
      rows: the members' rows of a guided bank; None for anything else. Their ids come after the
        bank's own in the embedder, and `rows` of the card's object holds them as {row: id}.
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


def check_key(card: dict, key: bytes | None) -> None:
    """Checks that `key` (None: the public one) is the key of the version that `card` describes.

    A version of the same name marked with another key would no longer be recognised.

    Raises:
      InputError: it is another; versions without a watermark take any.
    """
    expected, given = card.get("watermark", {}).get("key"), key_name(key or PUBLIC_KEY)
    if expected in (None, given):
        return
    advice = "run scripts.export with --watermark_key=FILE, the file of that key"
    if expected == "public":
        advice = "leave --watermark_key out"
    raise InputError(
        f"the frames of {card['person']} are marked with the key {expected}, got {given}: {advice}"
    )
