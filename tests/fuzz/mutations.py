"""Seeded damage for files: flipped bits, changed numbers, zeroed ranges, cuts, copied parts.

`FUZZ_SEED` chooses the mutations, `FUZZ_MUTATIONS` how many are tried (`make fuzz` tries many).
"""

from __future__ import annotations

import os
import random

SEED = int(os.environ.get("FUZZ_SEED", "1"))


def count(default: int) -> int:
    """Mutations to try: `FUZZ_MUTATIONS`, or `default` in a usual run of the tests."""
    return int(os.environ.get("FUZZ_MUTATIONS", str(default)))


def generator(number: int) -> random.Random:
    """The random numbers of one mutation, so that a failing one can be repeated alone."""
    return random.Random(SEED * 1_000_003 + number)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to three kinds of damage."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if changed:
            chance.choice(_KINDS)(changed, chance)
    return bytes(changed)


def _flip_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _change_byte(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))


def _change_number(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    size = chance.choice((2, 4, 8))
    value = chance.choice((0, 1, 0x7F << 8 * (size - 1), (1 << 8 * size) - 1))
    data[at : at + size] = value.to_bytes(size, chance.choice(("big", "little")))


def _zero(data: bytearray, chance: random.Random) -> None:
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    data[start:stop] = bytes(stop - start)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.randrange(1, 512)]


def _copy(data: bytearray, chance: random.Random) -> None:
    start, at = chance.randrange(len(data)), chance.randrange(len(data))
    data[at:at] = data[start : start + chance.randrange(1, 512)]


# Headers are small and decide most, so single bits and numbers come more often than cuts.
_KINDS = (
    _flip_bit,
    _flip_bit,
    _change_byte,
    _change_number,
    _change_number,
    _zero,
    _cut,
    _remove,
    _copy,
)
