"""Proof that every sample of a pass was trained once: sums of digests of sample numbers.

A digest spreads a sample's number over 32 bits, so that equal sums mean equal samples. It is the
avalanche that ends xxHash32 (Yann Collet's specification), here for plain numbers; ``batches`` has
the same in TensorFlow.
"""

from collections.abc import Iterable

import numpy as np

MARKS = 3  # of a batch: its samples, and digests of those in even and in odd passes
SHIFTS, FACTORS = (15, 13, 16), (2_246_822_519, 3_266_489_917, 1)


def whole_pass(size: int) -> float:
    """The sum of the digests of samples 0 ... size - 1.

    >>> whole_pass(3) > whole_pass(2) > whole_pass(1) > whole_pass(0) == 0
    True
    """
    mixed = np.arange(1, size + 1, dtype=np.uint32)
    for shift, factor in zip(SHIFTS, FACTORS, strict=True):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return float(mixed.sum(dtype=np.float64))


def passes_seen_once(
    steps: Iterable[tuple[int, float, float]], size: int, global_batch: int
) -> tuple[int, int]:
    """Passes that steps completed from the start, and how many of them saw each sample once.

    steps: number from 1, digests of even and of odd passes, in order and without a gap. Step s ends
    after s*B samples, and with B <= size it touches two passes at most, one even and one odd.
    """
    if global_batch > size:
        return 0, 0
    sums: dict[int, float] = {}
    last = 0
    for step, even, odd in steps:
        first = (step - 1) * global_batch // size
        for number, value in ((first, (even, odd)[first % 2]), (first + 1, (odd, even)[first % 2])):
            sums[number] = sums.get(number, 0.0) + value
        last = step
    complete, expected = last * global_batch // size, whole_pass(size)
    return complete, sum(sums.get(number) == expected for number in range(complete))
