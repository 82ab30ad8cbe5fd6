"""CRC-32C and CRC-64/NVME, which neither zlib nor hashlib has, and how CRCs of parts become that of the whole.

A CRC without its final complement is linear: the state after ``A`` and ``B`` is the state after ``A``, moved on by the
length of ``B``, xor the state that ``B`` alone gives from zero. So a block is cut into lanes that numpy moves on side
by side, and the lanes are folded in pairs. Catalogue of parameters: Greg Cook, CRC RevEng.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

_LANES = 2048


class Crc:
    """A reflected CRC of ``width`` bits with all ones before and after.

    >>> hex(CRC32C.of(b"123456789"))
    '0xe3069283'
    """

    def __init__(self, width: int, polynomial: int) -> None:
        self.width = width
        self.ones = (1 << width) - 1
        table = []
        for value in range(256):
            for _ in range(8):
                value = (value >> 1) ^ (polynomial if value & 1 else 0)
            table.append(value)
        self._table = table

    def of(self, data: bytes, before: int = 0) -> int:
        """The CRC of ``data``, after that of what came before it."""
        state = before ^ self.ones
        at = 0
        length = len(data) // _LANES
        if length >= 8:
            at = length * _LANES
            state = self._shift(state, at) ^ self._lanes(data[:at], length)
        table = self._table
        for byte in data[at:]:
            state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
        return state ^ self.ones

    def joined(self, parts: Sequence[tuple[int, int]]) -> int:
        """The CRC of the whole, from CRC and length in bytes of its parts."""
        whole = 0
        for crc, length in parts:
            whole = self._shift(whole, length) ^ crc
        return whole

    def _lanes(self, data: bytes, length: int) -> int:
        """The state after ``data`` from zero: ``_LANES`` lanes of ``length`` bytes."""
        import numpy as np

        kind: Any = np.uint64 if self.width == 64 else np.uint32
        table = np.array(self._table, kind)
        columns = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(_LANES, length).T)
        state = np.zeros(_LANES, kind)
        eight, low = kind(8), kind(0xFF)
        for column in columns:
            state = table[(state ^ column) & low] ^ (state >> eight)
        while len(state) > 1:
            tables = np.array(self._byte_tables(length), kind)
            moved = np.zeros(len(state) // 2, kind)
            for place, entries in enumerate(tables):
                moved ^= entries[(state[::2] >> kind(8 * place)) & low]
            state = moved ^ state[1::2]
            length *= 2
        return int(state[0])

    def _shift(self, state: int, length: int) -> int:
        """The state after ``length`` bytes of zero."""
        return _apply(self._zeros(length), state)

    @functools.lru_cache(256)  # noqa: B019 - there are three of them, for ever
    def _zeros(self, length: int) -> tuple[int, ...]:
        """What ``length`` bytes of zero make of each bit of the state."""
        if length == 0:
            return tuple(1 << bit for bit in range(self.width))
        if length == 1:
            return tuple(self._table[(1 << bit) & 0xFF] ^ ((1 << bit) >> 8) for bit in range(self.width))
        half = self._zeros(length // 2)
        whole = tuple(_apply(half, image) for image in half)
        return tuple(_apply(self._zeros(1), image) for image in whole) if length % 2 else whole

    @functools.lru_cache(64)  # noqa: B019
    def _byte_tables(self, length: int) -> tuple[tuple[int, ...], ...]:
        images = self._zeros(length)
        return tuple(
            tuple(_apply(images[8 * place : 8 * place + 8], byte) for byte in range(256))
            for place in range(self.width // 8)
        )


def _apply(images: Sequence[int], state: int) -> int:
    result = 0
    for image in images:
        if state & 1:
            result ^= image
        state >>= 1
        if not state:
            break
    return result


CRC32 = Crc(32, 0xEDB88320)
CRC32C = Crc(32, 0x82F63B78)
CRC64NVME = Crc(64, 0x9A6C9329AC4BC9B5)
