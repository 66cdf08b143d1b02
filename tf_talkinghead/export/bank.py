"""The avatar bank: one shared generator that takes the person's AdaIN numbers as an input.

    <models>/bank/<version>/      SavedModel; serving_default and render_jpeg take landmarks float32 [B,68,2] and
                                  person float16 [B,A], so rows of different people make one batch
    <models>/bank.vectors.npz     name -> float16 [A]
    <models>/bank.cards.json      name -> the person's card, since a bank has no `describe` of each person

A person made by `feed_forward` or `vector` on the bank's own weights joins by a line in these two files, without a new
model version. A fine-tuned person has a generator of their own and cannot.
"""

import io
import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from tf_talkinghead import files
from tf_talkinghead.config import Config
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import card as cards
from tf_talkinghead.export import store
from tf_talkinghead.export.saved_model import Renderer, check_dtype, write_saved_model
from tf_talkinghead.export.store import BANK
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.personalization.avatar import (
    FACTS_FILE,
    SHARED_MODES,
    UNREADABLE,
    Avatar,
    load_avatar,
    shared_weights_sha256,
)

VECTORS_FILE = "bank.vectors.npz"
CARDS_FILE = "bank.cards.json"


class BankModule(tf.Module):
    """The bank's signatures. `psi_size` is A."""

    def __init__(self, renderer: Renderer, psi_size: int, card: str):
        super().__init__(name="bank")
        self.renderer = renderer
        landmarks = tf.TensorSpec([None, 68, 2], tf.float32, "landmarks")
        person = tf.TensorSpec([None, psi_size], tf.float16, "person")

        def serving_default(landmarks, person):
            frames, ok = renderer.frames(landmarks, tf.cast(person, tf.float32))
            return {"frames": frames, "ok": ok}

        def render_jpeg(landmarks, person):
            frames, ok = renderer.frames(landmarks, tf.cast(person, tf.float32))
            return {"jpeg_bytes": renderer.jpeg(frames), "ok": ok}

        def describe(query):
            return {"card": tf.fill(tf.shape(query), card)}

        self.serving_default = tf.function(
            serving_default, input_signature=[landmarks, person], autograph=False
        )
        self.render_jpeg = tf.function(
            render_jpeg, input_signature=[landmarks, person], autograph=False
        )
        query = tf.TensorSpec([None], tf.int32, "query")
        self.describe = tf.function(describe, input_signature=[query], autograph=False)


def export_bank(
    config: Config,
    weights: list[np.ndarray],
    models_dir: str | os.PathLike,
    avatars: dict[str, Avatar],
    reference: np.ndarray,
    dtype: str = "float32",
    bfloat16_compute: bool = False,
) -> pathlib.Path:
    """Publish the shared generator `weights` (folded) as a bank of `avatars` by name; returns the version's folder.

    reference [68, 2]: what a row with bad landmarks is rendered from. The vectors are replaced by those of `avatars`,
    before the version appears: a vector that a bank does not know yet harms nobody. InputError names whoever has
    another generator.
    """
    check_dtype(dtype)
    digest = files.arrays_sha256(weights)
    for name, avatar in avatars.items():
        _check_shared(name, avatar, digest)
    card = cards.make_card(BANK, config, "bank", reference, {"images": None}, digest)
    text = cards.to_json(
        {
            **card,
            "stored_dtype": dtype,
            "compute_dtype": "bfloat16" if bfloat16_compute else "float32",
        }
    )
    renderer = Renderer(
        config.model, weights, reference, dtype, bfloat16_compute, config.export.jpeg_quality
    )
    size = adain_size(config.model)
    module = BankModule(renderer, size, text)
    example = {"landmarks": np.asarray(reference, np.float32), "person": np.zeros(size, np.float16)}
    with store.lock(models_dir, BANK, wait=True):
        vectors, described = {}, {}
        for name, avatar in avatars.items():
            vectors[name], described[name] = _entry(name, avatar)
        _write(models_dir, vectors, described)
        return store.publish(
            models_dir,
            BANK,
            lambda folder: write_saved_model(module, folder, BANK, config, text, example),
        )


def join(models_dir: str | os.PathLike, person: str, avatar: Avatar) -> bool:
    """Put `person` into the bank of `models_dir`, if there is one on the same weights; whether that was so."""
    digest = bank_weights_sha256(models_dir)
    if digest is None or avatar.mode not in SHARED_MODES or shared_weights_sha256(avatar) != digest:
        return False
    with store.lock(models_dir, BANK, wait=True):
        vectors, described = read_vectors(models_dir), _read_cards(models_dir)
        vectors[person], described[person] = _entry(person, avatar)
        _write(models_dir, vectors, described)
    return True


def leave(models_dir: str | os.PathLike, person: str) -> bool:
    """Take `person` out of the bank's files; whether they were there."""
    if not (pathlib.Path(models_dir) / VECTORS_FILE).exists():
        return False
    with store.lock(models_dir, BANK, wait=True):
        vectors, described = read_vectors(models_dir), _read_cards(models_dir)
        found = [table.pop(person, None) is not None for table in (vectors, described)]
        if any(found):
            _write(models_dir, vectors, described)
    return any(found)


def read_vectors(models_dir: str | os.PathLike) -> dict[str, np.ndarray]:
    """name -> float16 [A] of the bank in `models_dir`, empty where there is none."""
    path = pathlib.Path(models_dir) / VECTORS_FILE
    if not path.exists():
        return {}
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not a bank's vectors ({error}); publish the bank again"
        ) from error


def bank_weights_sha256(models_dir: str | os.PathLike) -> str | None:
    """The digest of the generator in the newest bank version, None where there is no bank."""
    found = store.versions(models_dir, BANK)
    if not found:
        return None
    return json.loads(
        (pathlib.Path(models_dir) / BANK / str(found[-1]) / cards.CARD_FILE).read_text()
    )["weights_sha256"]


def bank_people(models_dir: str | os.PathLike, names: list[str], digest: str) -> dict[str, Avatar]:
    """Avatars for a bank on the weights `digest`: those of `names`, or all that can join when `names` is empty."""
    if names:
        return {
            name: load_avatar(store.places(models_dir, store.check_name(name))[-1])
            for name in names
        }
    avatars = {}
    for name in sorted(path.name for path in (pathlib.Path(models_dir) / ".work").glob("*")):
        folder = store.places(models_dir, name)[-1]
        if (folder / FACTS_FILE).exists():
            avatar = load_avatar(folder)
            if avatar.mode in SHARED_MODES and shared_weights_sha256(avatar) == digest:
                avatars[name] = avatar
    return avatars


def _check_shared(name, avatar, digest):
    if avatar.mode not in SHARED_MODES:
        raise InputError(
            f"{name}: {avatar.mode} gave this person a generator of their own; use --mode={' or '.join(SHARED_MODES)}"
        )
    if shared_weights_sha256(avatar) != digest:
        raise InputError(
            f"{name}: made with other weights than the bank's; personalise again with these weights"
        )


def _entry(name, avatar):
    with np.errstate(over="ignore"):  # said in words below
        vector = np.asarray(avatar.psi_hat, np.float16)
    if not np.isfinite(vector).all():
        raise InputError(
            f"{name}: AdaIN numbers that float16 cannot hold; personalise with fewer steps"
        )
    card = cards.make_card(
        name,
        avatar.config,
        avatar.mode,
        avatar.reference_landmarks,
        avatar.facts.to_dict(),
        files.arrays_sha256([*avatar.weights, avatar.psi_hat]),
    )
    return vector, card


def _read_cards(models_dir):
    path = pathlib.Path(models_dir) / CARDS_FILE
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{path}: not a bank's cards ({error}); publish the bank again") from error


def _write(models_dir, vectors, described):
    buffer = io.BytesIO()
    np.savez(buffer, **vectors)
    root = pathlib.Path(models_dir)
    files.write_atomically(root / CARDS_FILE, cards.to_json(described).encode())
    files.write_atomically(root / VECTORS_FILE, buffer.getvalue())
