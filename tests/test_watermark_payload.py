"""The watermark's payload: its code against an independent one, errors mended, noise refused."""

import binascii

import numpy as np
import pytest

from tf_talkinghead.watermark import payload


def by_hand(identity):
    """The coded bits, from the definition: each is a sum over the info bits around a circle."""
    crc = binascii.crc_hqx(bytes([0x7F, 0x41]) + identity.to_bytes(4, "big"), 0xFFFF)
    info = [int(bit) for bit in f"{identity:032b}{crc:016b}"]
    coded = []
    for place in range(48):
        for generator in (0o463, 0o535, 0o733, 0o745):
            taps = [int(bit) for bit in f"{generator:09b}"]  # the newest bit first
            coded.append(sum(tap * info[place - back] for back, tap in enumerate(taps)) % 2)
    return 1 - 2 * np.float32(coded)


@pytest.mark.parametrize("identity", [0, 1, 0x12345678, 0x80000000, 0xFFFFFFFF])
def test_the_code_is_the_one_that_is_described(identity):
    np.testing.assert_array_equal(payload.encode(identity), by_hand(identity))
    found = payload.decode(payload.encode(identity))
    assert found.id == identity and found.agreement == pytest.approx(1)


def test_a_quarter_of_the_bits_may_be_erased_and_a_tenth_flipped():
    rng = np.random.default_rng(0)
    for identity in map(int, rng.integers(0, 2**32, 20)):
        soft = payload.encode(identity).astype(float)
        order = rng.permutation(len(soft))
        soft[order[:48]] = 0
        soft[order[48:62]] *= -1
        assert payload.decode(soft).id == identity


def test_a_wrong_id_is_never_returned():
    """Over all strengths from noise to certainty: the right id or none."""
    rng = np.random.default_rng(1)
    right = 0
    for strength in np.linspace(0, 1.2, 300):
        identity = int(rng.integers(0, 2**32))
        found = payload.decode(strength * payload.encode(identity) + rng.normal(size=192)).id
        assert found in (identity, None)
        right += found == identity
    assert right > 75  # all of the strongest quarter


def test_silence_is_no_word():
    assert payload.decode(np.zeros(192)).id is None


def test_ids_of_versions_differ_and_none_is_a_previews():
    ids = {payload.avatar_id("ann", "abc", str(second)) for second in range(100)}
    assert len(ids) == 100 and 0 not in ids
    assert payload.avatar_id("an", "nabc", "0") != payload.avatar_id("ann", "abc", "0")
