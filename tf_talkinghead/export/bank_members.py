"""Members of a bank, direct or guided: who can be one, and the card of each."""

from tf_talkinghead import files
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import card as cards
from tf_talkinghead.export.marking import OF_THE_BANK
from tf_talkinghead.personalization.avatar import SHARED_MODES, Avatar, generator_sha256


def check_member(name: str, avatar: Avatar, generator: str) -> None:
    """Raises InputError unless the avatar's generator is the one of SHA-256 `generator`."""
    if avatar.mode not in SHARED_MODES:
        raise InputError(
            f"{name}: mode {avatar.mode} gave this person a generator of their own; "
            f"personalise again with --mode={' or '.join(SHARED_MODES)}"
        )
    if generator_sha256(avatar) != generator:
        raise InputError(
            f"{name}: made with other weights than the bank's, or by version 0.1 of this project; "
            "personalise again with these weights"
        )


def member_card(name: str, avatar: Avatar) -> dict:
    """The member's card, since a bank has no `describe` of each person."""
    card = cards.make_card(
        name,
        avatar.config,
        avatar.mode,
        avatar.reference_landmarks,
        avatar.facts.to_dict(),
        files.arrays_sha256([*avatar.weights, avatar.psi_hat]),
    )
    return {**card, "watermark": OF_THE_BANK}
