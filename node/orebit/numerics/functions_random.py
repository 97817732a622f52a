"""Counter-based randomness: Threefry-2x32 (Salmon et al., SC 2011), and the swap-or-not shuffle (Hoang, Morris and
Rogaway, CRYPTO 2012), which permutes any range without a table."""

from __future__ import annotations

from orebit.program.expression import Scalar

THREEFRY_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
THREEFRY_PARITY = 0x1BD11BDA
MASK32 = (1 << 32) - 1
# Eight rounds leave a measurable bias; 24 do not.
SHUFFLE_ROUNDS = 24


def threefry2x32(key: tuple[Scalar, Scalar], counter: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
    """Twenty rounds. Of the i64 keys and counters the low 32 bits count; the two words returned are masked."""
    # Additions carry into the high half only, and rotations read the low half: one mask at the end is enough.
    schedule = (key[0], key[1], (key[0] ^ key[1]) ^ THREEFRY_PARITY)
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for block in range(5):
        for rotation in THREEFRY_ROTATIONS[block % 2]:
            x0 = x0 + x1
            x1 = x1.rotl32(rotation) ^ x0
        x0 = x0 + schedule[(block + 1) % 3]
        x1 = x1 + schedule[(block + 2) % 3] + (block + 1)
    return x0 & MASK32, x1 & MASK32


def swap_or_not(position: Scalar, offset: Scalar, key: tuple[Scalar, Scalar], size: int) -> Scalar:
    """One round: `position` and its partner `offset - position` (mod `size`) trade places or not, on one random bit.

    Args:
        position: i64 in 0..size-1.
        offset: i64 in 0..size-1, the round's own.
        key: the round's own key of 32-bit words.
        size: how many positions are permuted.
    """
    distance = offset - position
    partner = distance.lt(0).select(distance + size, distance)
    canonical = position.max(partner)
    word, _ = threefry2x32(key, (canonical & MASK32, canonical.shr(32)))
    return (word & 1).select(partner, position)
