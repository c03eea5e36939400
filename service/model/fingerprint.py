"""FarmHash's Fingerprint64, by which TensorFlow puts strings into buckets.

farmhashna::Hash64 of https://github.com/google/farmhash (G. Pike, 2014). The result is part of what a network was
trained with, so it must be the same number everywhere.
"""

import struct

MASK = (1 << 64) - 1
K0, K1, K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
BLOCK = 64
SEED = 81


def fingerprint(data: bytes) -> int:
    """A number of 64 bits."""
    if len(data) <= 16:
        return _short(data)
    if len(data) <= 32:
        return _middle(data)
    return _longer(data) if len(data) <= BLOCK else _long(data)


def _word(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


def _rotated(value: int, by: int) -> int:
    value &= MASK
    return (value >> by | value << (64 - by)) & MASK


def _mixed(value: int) -> int:
    value &= MASK
    return value ^ value >> 47


def _joined(u: int, v: int, factor: int) -> int:
    a = _mixed(((u ^ v) & MASK) * factor)
    b = _mixed(((v ^ a) & MASK) * factor)
    return b * factor & MASK


def _short(data: bytes) -> int:
    size = len(data)
    factor = K2 + 2 * size & MASK
    if size >= 8:
        a, b = _word(data, 0) + K2, _word(data, size - 8)
        c, d = _rotated(b, 37) * factor + a, (_rotated(a, 25) + b) * factor
        return _joined(c & MASK, d & MASK, factor)
    if size >= 4:
        (first,), (last,) = struct.unpack_from("<I", data), struct.unpack_from("<I", data, size - 4)
        return _joined(size + (first << 3), last, factor)
    if size:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return _mixed(y * K2 ^ z * K0) * K2 & MASK
    return K2


def _middle(data: bytes) -> int:
    size = len(data)
    factor = K2 + 2 * size & MASK
    a, b = _word(data, 0) * K1, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * K2
    return _joined(_rotated(a + b, 43) + _rotated(c, 30) + d & MASK, a + _rotated(b + K2, 18) + c & MASK, factor)


def _longer(data: bytes) -> int:
    size = len(data)
    factor = K2 + 2 * size & MASK
    a, b = _word(data, 0) * K2, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * K2
    y = _rotated(a + b, 43) + _rotated(c, 30) + d & MASK
    z = _joined(y, a + _rotated(b + K2, 18) + c & MASK, factor)
    e, f = _word(data, 16) * factor, _word(data, 24)
    g, h = (y + _word(data, size - 32)) * factor, (z + _word(data, size - 24)) * factor
    return _joined(_rotated(e + f, 43) + _rotated(g, 30) + h & MASK, e + _rotated(f + a, 18) + g & MASK, factor)


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    """Two numbers from 32 bytes and two numbers before."""
    w, x, y, z = struct.unpack_from("<4Q", data, at)
    a += w
    b = _rotated(b + a + z, 21)
    c = a
    a += x + y
    b += _rotated(a, 44)
    return a + z & MASK, b + c & MASK


def _long(data: bytes) -> int:
    size = len(data)
    x, y = SEED, SEED * K1 + 113 & MASK
    z = _mixed(y * K2 + 113) * K2 & MASK
    v, w = (0, 0), (0, 0)
    x = x * K2 + _word(data, 0) & MASK
    end = (size - 1) // BLOCK * BLOCK
    for at in range(0, end, BLOCK):
        x, y, z, v, w = _step(data, at, x, y, z, v, w, K1, 1)
    factor = K1 + ((z & 0xFF) << 1)
    first = w[0] + (size - 1 & 63)
    v = (v[0] + first & MASK, v[1])
    w = (first + v[0] & MASK, w[1])
    x, y, z, v, w = _step(data, size - BLOCK, x, y, z, v, w, factor, 9)
    return _joined(
        _joined(v[0], w[0], factor) + _mixed(y) * K0 + z & MASK, _joined(v[1], w[1], factor) + x & MASK, factor
    )


def _step(
    data: bytes, at: int, x: int, y: int, z: int, v: tuple[int, int], w: tuple[int, int], factor: int, times: int
) -> tuple[int, int, int, tuple[int, int], tuple[int, int]]:
    """One block of 64 bytes."""
    x = _rotated(x + y + v[0] + _word(data, at + 8), 37) * factor & MASK
    y = _rotated(y + v[1] + _word(data, at + 48), 42) * factor & MASK
    x ^= w[1] * times & MASK
    y = y + v[0] * times + _word(data, at + 40) & MASK
    z = _rotated(z + w[0], 33) * factor & MASK
    v = _weak(data, at, v[1] * factor, x + w[0])
    w = _weak(data, at + 32, z + w[1], y + _word(data, at + 16))
    return z, y, x, v, w
