"""Mutations of valid inputs: bytes, JSON, CSV, protos, and containers with recomputed checksums.

Every function takes a `random.Random` first and returns the mutated input.
"""

import copy
import io
import json
import struct
import zipfile
import zlib

NUMBERS = [0, 1, -1, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63), 2**64, 10**30]
ODD = [
    None, True, False, "", "x" * 5000, "\x00", "../../etc/passwd", "/dev/zero", "NaN", "é" * 9,
    [], {}, [[]], [None], {"a": {}}, 0.5, -0.0, 1e308, -1e308, 1e-320,
    float("nan"), float("inf"), *NUMBERS,
]  # fmt: skip


def raw(rng, data, times=None):
    """Bytes with a bit flipped, or a run of bytes overwritten, removed, doubled or inserted."""
    data = bytearray(data)
    for _ in range(times or rng.choice([1, 1, 1, 2, 4, 16])):
        at, size = (
            rng.randrange(len(data) + 1),
            min(rng.choice([1, 1, 2, 4, 8, 64, 512]), len(data)),
        )
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + size] = rng.randbytes(min(size, len(data) - at))
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = data[at : at + size]
        elif kind == 4:
            data[at:at] = rng.randbytes(size)
        elif kind == 5:
            number = rng.choice(NUMBERS) & 2**64 - 1
            width = rng.choice([1, 2, 4, 8])
            order = rng.choice(["little", "big"])
            data[at : at + width] = (number & (1 << 8 * width) - 1).to_bytes(width, order)
        elif rng.random() < 0.2:
            del data[at:]
    return bytes(data)


def tree(rng, value):
    """A JSON value with one to three nodes replaced, removed, doubled, renamed or copied."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        nodes = []
        _collect(value, nodes)
        if not nodes:
            return _odd(rng)
        parent, key = rng.choice(nodes)
        kind = rng.randrange(6)
        if kind <= 2:
            parent[key] = _odd(rng)
        elif kind == 3:
            del parent[key]
        elif kind == 4 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == 4:
            parent[f"{key}x"] = parent.pop(key)
        else:
            other, name = rng.choice(nodes)
            parent[key] = copy.deepcopy(other[name]) if name in _keys(other) else _odd(rng)
    return value


def _odd(rng):
    # A copy: the next change may be made inside it.
    return copy.deepcopy(rng.choice(ODD))


def _keys(value):
    return value.keys() if isinstance(value, dict) else range(len(value))


def _collect(value, nodes):
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        nodes.append((value, key))
        if isinstance(inner, (dict, list)) and inner:
            _collect(inner, nodes)


def json_text(rng, data):
    """JSON text with a changed tree in three of four cases, else with changed bytes."""
    if rng.random() < 0.25:
        return raw(rng, data)
    return json.dumps(tree(rng, json.loads(data))).encode()


def csv_text(rng, data):
    """CSV text with a changed cell or row in two of three cases, else with changed bytes."""
    if rng.random() < 0.33:
        return raw(rng, data)
    rows = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(rng.choice([1, 1, 2, 5])):
        row = rng.choice(rows)
        kind = rng.randrange(5)
        if kind <= 1 and row:
            row[rng.randrange(len(row))] = str(rng.choice([*ODD[:10], *NUMBERS, "1e400", '"', "-"]))
        elif kind == 2 and row:
            row.pop()
        elif kind == 3:
            row.append(rng.choice(["", "1", "x"]))
        else:
            rows.insert(rng.randrange(len(rows) + 1), list(rng.choice(rows)))
    return "\n".join(",".join(row) for row in rows).encode("utf-8", "replace")


def proto(rng, data, message_class):
    """A serialised message with fields set to odd values in three of four cases, else with changed
    bytes.
    """
    if rng.random() < 0.25:
        return raw(rng, data)
    message = message_class.FromString(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        _change_field(rng, message)
    return message.SerializeToString(deterministic=True)


def _change_field(rng, message, depth=0):
    field = rng.choice(message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        keys = sorted(value)
        entry = field.message_type.fields_by_name["value"]
        if keys and entry.message_type and depth < 6:
            _change_field(rng, value[rng.choice(keys)], depth + 1)
    elif field.message_type and depth < 6:
        if not field.is_repeated:
            _change_field(rng, value, depth + 1)
        elif len(value) and rng.random() < 0.7:
            _change_field(rng, rng.choice(value), depth + 1)
        else:
            value.add()
    elif not field.message_type:
        try:
            odd = _odd_scalar(rng, field)
            if field.is_repeated:
                value.extend([odd] * rng.choice([1, 1, 3, 200]))
            else:
                setattr(message, field.name, odd)
        except (TypeError, ValueError):  # out of the field's range
            return


def _odd_scalar(rng, field):
    if field.cpp_type == field.CPPTYPE_STRING:
        text = rng.choice(["", "x", "x" * 3000, "../../x", "\x00", "é"])
        return text if field.type == field.TYPE_STRING else text.encode() + rng.randbytes(3)
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice([0.0, -1.0, 1e38, float("nan"), float("inf")])
    return rng.choice([0, 1, -1, 2, 3, 7, 19, 100, 2**31 - 1, 2**40, 2**63 - 1, -(2**31)])


def png(rng, data):
    """A PNG with changed chunks and right checksums, or, in one of five cases, changed bytes."""
    if rng.random() < 0.2:
        return raw(rng, data)
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + length]])
        at += 12 + length
    kind = rng.randrange(4)
    chosen = rng.randrange(len(chunks))
    if kind <= 1:
        chunks[chosen][1] = raw(rng, chunks[chosen][1], 1)
    elif kind == 2:
        chunks.insert(rng.randrange(len(chunks)), chunks[chosen])
    else:
        pixels = bytearray(zlib.decompress(b"".join(c for n, c in chunks if n == b"IDAT")))
        changed = zlib.compress(raw(rng, pixels))
        chunks = [c for c in chunks if c[0] != b"IDAT"]
        chunks.insert(-1, [b"IDAT", changed])
    parts = [data[:8]]
    for name, content in chunks:
        checked = name + content
        parts += [struct.pack(">I", len(content)), checked, struct.pack(">I", zlib.crc32(checked))]
    return b"".join(parts)


def archive(rng, data):
    """A zip (.npz) with a changed member or name and right checksums, or with changed bytes."""
    if rng.random() < 0.2:
        return raw(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as stored:
        members = [[info.filename, stored.read(info)] for info in stored.infolist()]
    chosen = rng.choice(members)
    kind = rng.randrange(6)
    if kind <= 1:  # the header of an array, with its dtype and shape
        chosen[1] = raw(rng, chosen[1][:128], 1) + chosen[1][128:]
    elif kind == 2:
        chosen[1] = raw(rng, chosen[1])
    elif kind == 3:
        members.remove(chosen)
    elif kind == 4:
        chosen[0] = rng.choice(["../x.npy", "x.npy", "", "/etc/x.npy", chosen[0] + "y", "é.npy"])
    else:
        chosen[1] = rng.choice(members)[1]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", rng.choice([0, 8])) as stored:
        for name, content in members:
            stored.writestr(name or "_", content)
    return made.getvalue()


_CRC32C = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _CRC32C.append(_byte)


def tfrecord(payloads):
    """A TFRecord file of `payloads`, with its masked CRC-32C checksums."""
    parts = []
    for payload in payloads:
        length = struct.pack("<Q", len(payload))
        parts += [length, _masked(length), payload, _masked(payload)]
    return b"".join(parts)


def _masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
