"""Variable-length integers: seven bits a byte, least significant first, shortest form only."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from orebit.errors import ProgramError

_LONGEST = 10
_RUN = 1 << 15
# What one byte below 0x80 stands for, signed.
_ZIGZAG = tuple(value >> 1 if not value & 1 else -((value + 1) >> 1) for value in range(0x80))


def unsigned(value: int) -> bytes:
    """A non-negative integer below 2^64; zero is one byte.

    Raises:
        ProgramError: out of that range.
    """
    if not 0 <= value < 1 << 64:
        raise ProgramError(f"the integer {value} does not fit 64 bits; use smaller dimensions or offsets")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """A signed 64-bit integer, zigzag: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return unsigned(value << 1 if value >= 0 else (-value << 1) - 1)


class Reader:
    """Reads stranger's bytes; every shortfall or non-canonical form is a ProgramError."""

    def __init__(self, data: bytes, offset: int = 0, end: int | None = None) -> None:
        self.data = data
        self.offset = offset
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        return self.end - self.offset

    def byte(self) -> int:
        if self.offset >= self.end:
            raise ProgramError("the program's bytes end too early; fetch the program again")
        value = self.data[self.offset]
        self.offset += 1
        return value

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ProgramError("the program's bytes end too early; fetch the program again")
        self.offset += count
        return self.data[self.offset - count : self.offset]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def unsigned(self) -> int:
        value = 0
        if self.offset < self.end and self.data[self.offset] < 0x80:  # most are one byte
            self.offset += 1
            return self.data[self.offset - 1]
        for position in range(_LONGEST):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                if byte == 0 and position:
                    raise ProgramError("an integer in the program is not in its shortest form; encode it again")
                if value >> 64:
                    break
                return value
        raise ProgramError("an integer in the program is longer than 64 bits; encode it again")

    def unsigned_run(self) -> list[int]:
        """The next unsigned integers, some thousands; none at the end."""
        data = np.frombuffer(self.data, np.uint8, min(self.left, _RUN), self.offset)
        ends = np.flatnonzero(data < 0x80)
        lengths = np.diff(ends, prepend=-1)
        if not ends.size or lengths.max() >= _LONGEST or (data[ends[lengths > 1]] == 0).any():
            return self._unsigned_one_by_one(data.size)
        starts = ends - lengths + 1
        values = (data[starts] & 0x7F).astype(np.uint64)
        for place in range(1, int(lengths.max())):
            longer = np.flatnonzero(lengths > place)
            values[longer] |= (data[starts[longer] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
        self.offset += int(ends[-1]) + 1
        return [int(value) for value in values.tolist()]

    def _unsigned_one_by_one(self, count: int) -> list[int]:
        """Up to `count` unsigned integers, as many as are well formed; raises for the first if that is not."""
        found: list[int] = []
        while self.left and len(found) < count:
            start = self.offset
            try:
                found.append(self.unsigned())
            except ProgramError:
                if not found:
                    raise
                self.offset = start
                break
        return found

    def missing(self) -> NoReturn:
        """Raises:
        ProgramError: since what should be here is not.
        """
        raise ProgramError("the program's bytes end too early; fetch the program again")

    def signed(self) -> int:
        value = self.unsigned()
        return value >> 1 if not value & 1 else -((value + 1) >> 1)

    def signed_run(self, count: int) -> tuple[int, ...]:
        """`count` signed integers."""
        run = self.data[self.offset : min(self.offset + count, self.end)]
        if len(run) == count and run.isascii():  # a byte each
            self.offset += count
            return tuple([_ZIGZAG[byte] for byte in run])
        return tuple([self.signed() for _ in range(count)])

    def done(self) -> None:
        if self.left:
            raise ProgramError(f"{self.left} bytes follow the end of a program's part; encode it again")
