"""The avatar bank: one shared generator that takes each row's AdaIN vector as an input.

    <models>/bank/<version>/               SavedModel of the generator, without data of any member
    <models>/bank/<version>/vectors.npz    the members' vectors and cards, see `bank_files`

    signature                  input                                  output
    serving_default            landmarks float32 [B,68,2],            frames uint8 [B,H,W,3],
                               person float16 [B,A]                   ok bool [B]
    render_jpeg                the same                               jpeg_bytes string [B], ok
    serving_default_float32,   landmarks, person float32 [B,A]:       the same
    render_jpeg_float32        REST has no float16
    describe                   query int32 [B], ignored               card of the bank, string [B]

Rows of different people make one batch. A client must send the vectors of the version that renders:
those of another generator give another face, with ok true. So the vectors lie inside the version,
with the generator's identity: the SHA-256 of the weights file it was read from (folded weights
differ from machine to machine by rounding).

An avatar made by `feed_forward` or `vector` with the weights of the newest version joins every
version with that generator. This publishes no new version, so the servers load nothing. Leaving
removes the vector and card from every version; the SavedModels stay, since they hold no data of
members. A fine-tuned person has a generator of their own and cannot join.
"""

import contextlib
import os
import pathlib

import numpy as np
import tensorflow as tf

from tf_talkinghead import files
from tf_talkinghead.config import Config
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import card as cards
from tf_talkinghead.export import store
from tf_talkinghead.export.bank_files import (
    LEGACY_FILES,
    VECTORS_FILE,
    Members,
    read_members,
    write_members,
)
from tf_talkinghead.export.bank_members import check_member, member_card
from tf_talkinghead.export.marking import marking
from tf_talkinghead.export.saved_model import check_dtype, write_saved_model
from tf_talkinghead.export.signatures import Renderer, describe_signature, signature
from tf_talkinghead.export.store import BANK
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.personalization.avatar import (
    FACTS_FILE,
    SHARED_MODES,
    Avatar,
    generator_sha256,
    load_avatar,
)

# Landmarks [68, 2] that a row with non-finite ones is rendered from. They are no person's: a
# member's would stay in the SavedModel after the member has left.
_NEUTRAL = np.full((68, 2), 0.5, np.float32)


class BankModule(tf.Module):
    """The bank's signatures; `psi_size` is A."""

    def __init__(self, renderer: Renderer, psi_size: int, card: str):
        super().__init__(name="bank")
        self.renderer = renderer
        landmarks = tf.TensorSpec([None, 68, 2], tf.float32, "landmarks")
        endpoints = {"describe": describe_signature(card)}
        for suffix, dtype in (("", tf.float16), ("_float32", tf.float32)):
            person = tf.TensorSpec([None, psi_size], dtype, "person")
            endpoints |= {
                f"serving_default{suffix}": signature(self._serving_default, landmarks, person),
                f"render_jpeg{suffix}": signature(self._render_jpeg, landmarks, person),
            }
        self.endpoints = endpoints

    def _serving_default(self, landmarks, person):
        frames, ok = self.renderer.frames(landmarks, tf.cast(person, tf.float32))
        return {"frames": frames, "ok": ok}

    def _render_jpeg(self, landmarks, person):
        frames, ok = self.renderer.frames(landmarks, tf.cast(person, tf.float32))
        return {"jpeg_bytes": self.renderer.jpeg(frames), "ok": ok}


def export_bank(
    config: Config,
    weights: list[np.ndarray],
    generator: str,
    models_dir: str | os.PathLike,
    avatars: dict[str, Avatar],
    dtype: str = "float32",
    bfloat16_compute: bool = False,
    watermark_key: bytes | None = None,
) -> pathlib.Path:
    """Publishes the shared generator as the next version of the bank, with its members.

    If others may join or leave meanwhile, the caller must hold `store.lock(..., BANK)` from reading
    `avatars` until this returns.

    Args:
      config: of the trained weights.
      weights: the folded generator's, in its order.
      generator: SHA-256 of the weights file that `weights` were read from.
      models_dir: folder of all models.
      avatars: the members by name.
      dtype: storage type of the weights, one of DTYPES.
      bfloat16_compute: run the convolutions in bfloat16.
      watermark_key: key of the frames' watermark; None is the public one.

    Returns:
      The version's folder.

    Raises:
      InputError: an unknown dtype, or a member with another generator; the message names them.
    """
    check_dtype(dtype)
    for name, avatar in avatars.items():
        check_member(name, avatar, generator)
    facts = {"trained_weights_sha256": generator}
    card = cards.make_card(BANK, config, "bank", _NEUTRAL, facts, files.arrays_sha256(weights))
    watermark = marking(config, card, watermark_key)
    card |= {**cards.precision(dtype, bfloat16_compute), "watermark": watermark.card}
    text = cards.to_json(card)
    renderer = Renderer(
        config.model,
        weights,
        _NEUTRAL,
        dtype,
        bfloat16_compute,
        config.export.jpeg_quality,
        watermark=watermark.embedder,
    )
    size = adain_size(config.model)
    module = BankModule(renderer, size, text)
    vectors = {name: _vector(name, avatar) for name, avatar in avatars.items()}
    described = {name: member_card(name, avatar) for name, avatar in avatars.items()}

    def write(folder, version):
        example = {"landmarks": _NEUTRAL, "person": np.zeros(size, np.float16)}
        write_saved_model(module, folder, BANK, config, text, example)
        write_members(folder / VECTORS_FILE, Members(version, generator, vectors, described))

    version = store.publish(models_dir, BANK, write)
    for name in LEGACY_FILES:  # version 0.1 would read them for the new generator
        (pathlib.Path(models_dir) / name).unlink(missing_ok=True)
    return version


def join(models_dir: str | os.PathLike, person: str, avatar: Avatar) -> bool:
    """Puts `person` into every bank version that has the newest one's generator.

    Returns:
      Whether `person` is in the bank now: false where there is none, or its generator is not the
      avatar's.
    """
    if avatar.mode not in SHARED_MODES or not _member_files(models_dir):
        return False
    vector, card = _vector(person, avatar), member_card(person, avatar)
    with _unchanging(models_dir):
        banks = {path: read_members(path) for path in _member_files(models_dir)}
        newest = next(iter(banks.values()), None)
        if store.versions(models_dir, BANK)[-1] > max(
            (m.version for m in banks.values()), default=0
        ):
            newest = None  # the newest version is of guided avatars, which has no member file
        if newest is None or newest.generator != generator_sha256(avatar):
            return False
        for path, members in banks.items():
            if members.generator == newest.generator:
                members.vectors[person], members.cards[person] = vector, card
                write_members(path, members)
    return True


def leave(models_dir: str | os.PathLike, person: str) -> bool:
    """Removes `person` from every bank version and from what killed writers left.

    Returns:
      Whether the person was in a version.
    """
    root = pathlib.Path(models_dir)
    legacy = [root / name for name in LEGACY_FILES if (root / name).exists()]
    if not (root / BANK).exists() and not legacy and not store.unfinished(root, BANK):
        return False
    store.remove_unfinished(root, BANK)
    with _unchanging(root):
        for partial in (root / BANK).glob(f"*/.{VECTORS_FILE}*"):  # as `write_atomically` names it
            partial.unlink()
        found = False
        for path in _member_files(root):
            members = read_members(path)
            if person in members.vectors:
                del members.vectors[person], members.cards[person]
                write_members(path, members)
                found = True
        if legacy and person in _legacy_names(root):
            for path in legacy:  # nothing reads them any more
                path.unlink()
            found = True
    return found


def bank_people(
    models_dir: str | os.PathLike, names: list[str], generator: str
) -> tuple[dict[str, Avatar], list[str]]:
    """Finds the avatars for a bank on the weights file of SHA-256 `generator`.

    Returns:
      (avatars by name, names left out): the avatars of `names`; or, where `names` is empty, all
      avatars of a shared mode that were made with these weights, and the names of those made with
      others.
    """
    if names:
        places = {name: store.places(models_dir, store.check_name(name))[-1] for name in names}
        return {name: load_avatar(place) for name, place in places.items()}, []
    avatars, left_out = {}, []
    for name in sorted(path.name for path in (pathlib.Path(models_dir) / ".work").glob("*")):
        folder = store.places(models_dir, name)[-1]
        if not (folder / FACTS_FILE).exists():
            continue
        avatar = load_avatar(folder)
        if avatar.mode in SHARED_MODES:
            if generator_sha256(avatar) == generator:
                avatars[name] = avatar
            else:
                left_out.append(name)
    return avatars, left_out


@contextlib.contextmanager
def _unchanging(models_dir):
    """Locks the bank: nobody else joins or leaves, and no version appears or is removed."""
    with store.lock(models_dir, BANK, wait=True), store.versions_lock(models_dir, BANK):
        yield


def _member_files(models_dir):
    """The member files of all bank versions, newest first; versions of 0.1 have none."""
    root = pathlib.Path(models_dir)
    paths = [root / BANK / str(v) / VECTORS_FILE for v in store.versions(root, BANK)[::-1]]
    return [path for path in paths if path.exists()]


def _legacy_names(root):
    """The names in the member file of version 0.1; InputError for a damaged file."""
    try:
        with files.ArrayFile(root / LEGACY_FILES[0]) as stored:
            return set(stored.names)
    except FileNotFoundError:
        return set()
    except ValueError as error:
        path = root / LEGACY_FILES[0]
        raise InputError(
            f"{path}: damaged ({error}); it is of version 0.1, and nothing reads it: remove it"
        ) from error


def _vector(name, avatar):
    """The member's AdaIN vector as float16 [A]; InputError where float16 cannot hold it."""
    with np.errstate(over="ignore"):
        vector = np.asarray(avatar.psi_hat, np.float16)
    if not np.isfinite(vector).all():
        raise InputError(
            f"{name}: AdaIN values beyond float16's 65504; personalise again with fewer steps"
        )
    return vector
