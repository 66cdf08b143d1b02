"""Payload of the watermark: an avatar's 32-bit id, protected by a CRC and an error-correcting code.

    info    32 bits of the id, 16 bits of CRC over APPLICATION and the id
    coded   192 bits: tail-biting convolutional code of rate 1/4, 256 states

APPLICATION, the sixteen bits that say "tf_talkinghead, AI-generated", is not part of the coded
bits: it selects the sync pattern (pattern.py) and enters the CRC, so that a mark of other software
passes neither check.
"""

import binascii
import dataclasses
import hashlib

import numpy as np

APPLICATION = 0x7F41  # "this software, AI-generated"
ID_BITS, CRC_BITS = 32, 16
INFO_BITS = ID_BITS + CRC_BITS
_MEMORY = 8
_STATES = 1 << _MEMORY
# Generators of the best code of this rate and memory (Proakis, Digital Communications), octal.
_GENERATORS = (0o463, 0o535, 0o733, 0o745)
CODED_BITS = INFO_BITS * len(_GENERATORS)
# Mean agreement of the soft bits with the decoded word, in units of their root mean square, below
# which a word is refused even if its CRC agrees. Of a thousand words of noise none reached 0.5.
_LEAST_AGREEMENT = 0.55


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A decoded word.

    Attributes:
      id: the avatar's id, or None where CRC or agreement refuse it.
      agreement: mean of soft bit times decoded bit, over the soft bits' root mean square, 0 to 1.
    """

    id: int | None
    agreement: float


def avatar_id(*parts: str) -> int:
    """The 32-bit id of an avatar's version: the beginning of the SHA-256 of `parts`.

    Never 0, which previews carry.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") or 1


def encode(identity: int) -> np.ndarray:
    """The coded bits of an id from 0 to 2**32 - 1, float32 [192] of +1 (a zero) and -1 (a one)."""
    info = np.concatenate([_bits(identity, ID_BITS), _bits(_crc(identity), CRC_BITS)])
    state = 0
    for bit in info[-_MEMORY:]:  # tail-biting: the encoder begins in the state it will end in
        state = _next(state, bit)
    coded = []
    for bit in info:
        coded += [_parity((bit << _MEMORY | state) & generator) for generator in _GENERATORS]
        state = _next(state, bit)
    return 1.0 - 2.0 * np.float32(coded)


def decode(soft: np.ndarray) -> Decoded:
    """The most likely word of soft bits [192], positive for +1, of any scale (soft Viterbi)."""
    soft = np.asarray(soft, np.float64)
    info = _viterbi(soft.reshape(INFO_BITS, -1))
    identity, crc = _number(info[:ID_BITS]), _number(info[ID_BITS:])
    size = np.sqrt(np.mean(soft**2))
    agreement = float(np.mean(soft * encode(identity)) / size) if size > 0 else 0.0
    valid = crc == _crc(identity) and agreement >= _LEAST_AGREEMENT
    return Decoded(identity if valid else None, agreement)


def _viterbi(soft):
    """The info bits of soft bits [48, 4].

    The code is circular: the word is decoded three times in a row, and the middle pass is returned.
    """
    states = np.arange(_STATES)
    # State `s` holds the last eight bits, the newest on top; it is reached from two states by the
    # bit s >> 7.
    before = np.stack([(states << 1) & (_STATES - 1), (states << 1) & (_STATES - 1) | 1])
    registers = (states >> (_MEMORY - 1) << _MEMORY) | before
    signs = np.stack(
        [1.0 - 2.0 * _parity(registers & generator) for generator in _GENERATORS], axis=-1
    )
    metric, choices, turns = np.zeros(_STATES), [], 3
    for step in range(turns * len(soft)):
        candidates = metric[before] + signs @ soft[step % len(soft)]
        choices.append(np.argmax(candidates, axis=0))
        metric = np.max(candidates, axis=0)
    state, bits = int(np.argmax(metric)), []
    for choice in reversed(choices):
        bits.append(state >> (_MEMORY - 1))
        state = before[choice[state], state]
    bits.reverse()
    return np.array(bits[len(soft) : 2 * len(soft)])


def _next(state, bit):
    return state >> 1 | int(bit) << (_MEMORY - 1)


def _parity(value):
    """The parity of integers below 2**16, 0 or 1."""
    value = np.asarray(value)
    for shift in (8, 4, 2, 1):
        value = value ^ value >> shift
    return value & 1


def _crc(identity):
    return binascii.crc_hqx(APPLICATION.to_bytes(2, "big") + identity.to_bytes(4, "big"), 0xFFFF)


def _bits(number, count):
    return np.array([number >> place & 1 for place in range(count - 1, -1, -1)])


def _number(bits):
    return int("".join(str(int(bit)) for bit in bits), 2)
