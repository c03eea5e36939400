"""How H5 files are fuzzed: files with most that the format knows, and changes that keep them in one piece.

Fields, where they stand and what their checksums cover are those of the HDF5 File Format Specification 3.0.
"""

import io
import random
import struct
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from tests.data.hostile import build

WORD = struct.Struct("<Q")
MASK = 0xFFFFFFFF
MARKS = (b"HEAP", b"TREE", b"SNOD", b"GCOL", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"BTIN")
SIZES = (0, 1, 2, 7, 8, 64, 255, 1 << 16, 1 << 24, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1)
CHECKED = {b"\x89HDF\r\n\x1a\n": 44, b"FRHP": 142, b"BTHD": 34}  # bytes before the checksum
MANY = 40  # links and attributes, too many for a header


def seeds() -> list[bytes]:
    """Files of old and new format, with the weights of the harmless network among all sorts of other things."""
    return [_rich(libver, edit) for libver in ("earliest", "latest") for edit in (None, _attributes, _links, _datasets)]


def _rich(libver: str, edit: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        for path, value in build.WEIGHTS.items():
            file[path] = value
        if edit:
            edit(file)
    return buffer.getvalue()


def _attributes(file: h5py.File) -> None:
    weight = file[build.KERNEL]
    for number in range(MANY):
        weight.attrs[f"a{number}"] = np.arange(4)
    weight.attrs["text"] = "é" * 9
    weight.attrs["texts"] = ["a", "bc"]
    file.attrs["reference"] = weight.ref


def _links(file: h5py.File) -> None:
    group = file["layers"]
    for number in range(MANY):
        group[f"link{number}"] = h5py.SoftLink("/layers/dense")
    group["other"] = h5py.ExternalLink("other.h5", "/")
    group["again"] = file[build.KERNEL]
    file["type"] = np.dtype([("a", "<f4"), ("b", "<i8", (2,))])


def _datasets(file: h5py.File) -> None:
    group = file["layers/simple_rnn/cell"]
    group.create_dataset("packed", (8, 8), np.float32, chunks=(4, 4), compression="gzip", shuffle=True)
    group.create_dataset("growing", (8, 8), np.float32, maxshape=(None, 8), chunks=(2, 8), fletcher32=True)[...] = 1
    group.create_dataset("text", data=["a", "bc"])
    group.create_dataset("filled", (4,), np.float64, fillvalue=7.0)
    group.create_dataset("empty", data=h5py.Empty("f4"))
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource(".", "layers/simple_rnn/cell/vars/2", (4,))
    group.create_virtual_dataset("virtual", layout)


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """A file with some of its fields changed: words for sizes and for places of other structures, or single bytes."""
    rng, found = random.Random(seed), bytearray(data[:most])
    if len(found) < 2 * WORD.size:
        return build.h5()
    covered = list(_checksums(data))
    starts = list(_structures(data))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = _field(rng, found, starts)
        if rng.random() < 0.5:
            WORD.pack_into(
                found, at, rng.choice((rng.choice(SIZES), rng.choice(starts or [0]), rng.randrange(len(found))))
            )
        else:
            found[at] = rng.choice((0, 1, 2, 3, 4, 8, 16, 127, 128, 255, found[at] ^ 1 << rng.randrange(8)))
    if rng.random() < 0.9:
        for start, end in covered:
            if end + 4 <= len(found):
                struct.pack_into("<I", found, end, lookup3(bytes(found[start:end])))
    return bytes(found)


def _field(rng: random.Random, data: bytearray, starts: list[int]) -> int:
    """Where something is changed: most often in the first words of a structure."""
    last = len(data) - WORD.size
    if starts and rng.random() < 0.7:
        return min(last, rng.choice(starts) + rng.choice((rng.randrange(0, 64), rng.randrange(0, 8) * 8)))
    return min(last, rng.choice((rng.randrange(96), rng.randrange(len(data)), rng.randrange(len(data)) & ~7)))


def _structures(data: bytes) -> Iterator[int]:
    """Where structures begin, by their marks; object headers of the first version have none but their first bytes."""
    for mark in (*MARKS, b"\x01\x00"):
        at = data.find(mark)
        while at >= 0:
            if mark in MARKS or (at % 8 == 0 and data[at + 4 : at + 8] == b"\x01\0\0\0"):
                yield at
            at = data.find(mark, at + 1)


def _checksums(data: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of what a checksum covers, which follows it."""
    for mark, size in CHECKED.items():
        at = data.find(mark)
        while at >= 0:
            if size != CHECKED[b"\x89HDF\r\n\x1a\n"] or data[at + 8 : at + 9] >= b"\x02":
                yield at, at + size
            at = data.find(mark, at + 1)
    at = data.find(b"OHDR")
    while 0 <= at < len(data) - 32:
        flags = data[at + 5]
        times, attributes, width = 16 * bool(flags & 32), 4 * bool(flags & 16), 1 << (flags & 3)
        begin = at + 6 + times + attributes
        size = int.from_bytes(data[begin : begin + width], "little")
        if begin + width + size + 4 <= len(data):
            yield at, begin + width + size
        at = data.find(b"OHDR", at + 1)


def lookup3(data: bytes) -> int:
    """The checksum of H5 structures: Bob Jenkins's hashlittle, with 0 to begin with."""

    def rotated(x: int, by: int) -> int:
        return (x << by | x >> (32 - by)) & MASK

    a = b = c = (0xDEADBEEF + len(data)) & MASK
    if not data:
        return c
    blocks = data + bytes(-len(data) % 12)
    for start in range(0, len(blocks), 12):
        x, y, z = struct.unpack_from("<III", blocks, start)
        a, b, c = (a + x) & MASK, (b + y) & MASK, (c + z) & MASK
        if start + 12 < len(blocks):
            for by in (4, 6, 8, 16, 19, 4):
                a = ((a - c) & MASK) ^ rotated(c, by)
                c = (c + b) & MASK
                a, b, c = b, c, a
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - rotated(b, by)) & MASK
        a, b, c = b, c, a
    return b
