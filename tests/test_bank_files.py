"""The bank's member file: round trip, and damaged or foreign files refused in one line."""

import numpy as np
import pytest

from tf_talkinghead.errors import InputError
from tf_talkinghead.export.bank_files import Members, read_member, read_members, write_members


def _members():
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=5).astype(np.float16) for name in ("ann", "b.ö-b")}
    cards = {name: {"person": name, "steps": 3, "loss": None} for name in vectors}
    return Members(7, "ab" * 32, vectors, cards)


def test_round_trip(tmp_path):
    members, path = _members(), tmp_path / "7" / "vectors.npz"
    write_members(path, members)
    found = read_members(path)
    assert (found.version, found.generator, found.cards) == (7, "ab" * 32, members.cards)
    assert found.vectors.keys() == members.vectors.keys()
    for name, vector in members.vectors.items():
        member = read_member(path, name)
        assert (member.version, member.generator) == (7, "ab" * 32)
        assert member.card == members.cards[name]
        for stored in (found.vectors[name], member.vector):
            assert stored.dtype == np.float16 and np.array_equal(stored, vector)


def test_a_bank_of_nobody(tmp_path):
    write_members(tmp_path / "vectors.npz", Members(1, "x"))
    assert read_members(tmp_path / "vectors.npz") == Members(1, "x")
    with pytest.raises(InputError, match="nobody called 'ann' in version 1 .* holds nobody"):
        read_member(tmp_path / "vectors.npz", "ann")


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path):
    good = tmp_path / "vectors.npz"
    write_members(good, _members())
    content = good.read_bytes()
    np.savez(tmp_path / "bank.vectors.npz", ann=np.zeros(5, np.float16))  # as 0.1 wrote it
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "header.npz", bank=np.frombuffer(b"[1, 2", np.uint8))
    np.savez(tmp_path / "pickle.npz", bank=np.array([{}], object))
    for name, words in {
        "bank.vectors.npz": r"0\.1.*python -m scripts.export --models=MODELS --bank",
        "array.npy": "not the vectors of a bank",
        "cut.npz": "not the vectors of a bank",
        "text.npz": "not the vectors of a bank",
        "empty.npz": "not the vectors of a bank",
        "header.npz": "not the vectors of a bank",
        "pickle.npz": "not the vectors of a bank",
        "absent.npz": "not the vectors of a bank.*No such file",
    }.items():
        for read in (read_members, lambda path: read_member(path, "ann")):
            with pytest.raises(InputError, match=words) as refused:
                read(tmp_path / name)
            assert "\n" not in str(refused.value) and str(tmp_path / name) in str(refused.value)
    newer = content.replace(b'"schema": 1', b'"schema": 2')
    (tmp_path / "newer.npz").write_bytes(newer)
    with pytest.raises(InputError):  # zip's checksum, or the schema
        read_members(tmp_path / "newer.npz")


def test_every_flipped_byte_is_refused_or_harmless(tmp_path):
    """zip stores a CRC-32 of each array, so a flip never changes a vector unseen."""
    members, path = _members(), tmp_path / "vectors.npz"
    write_members(path, members)
    content = path.read_bytes()
    for position in np.random.default_rng(1).choice(len(content), 150, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        try:
            found = read_member(path, "ann")
        except InputError:
            continue
        assert np.array_equal(found.vector, members.vectors["ann"])
        assert (found.version, found.generator) == (7, "ab" * 32)
