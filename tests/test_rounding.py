"""A rounded limit holds for every whole choice that keeps the limit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from isocost.optimizer.instance import Limit
from isocost.optimizer.rounding import broken, rounded

AMOUNTS = st.one_of(st.integers(0, 16).map(float), st.floats(0, 20))


@given(
    st.lists(st.tuples(AMOUNTS, st.integers(0, 3)), min_size=1, max_size=6),
    AMOUNTS,
    st.floats(0.1, 16),
)
def test_no_whole_choice_within_the_limit_is_lost(
    taken: list[tuple[float, int]], spare: float, divisor: float
) -> None:
    amount, count = (np.array(part, float) for part in zip(*taken, strict=True))
    most = float(amount @ count) + spare
    limit = Limit("quota", ("a",), np.zeros(len(amount), int), amount, np.array([most]))
    part = most / divisor - np.floor(most / divisor)
    if part > 0.99:  # not asked for, since errors of a float would be magnified
        return
    new = rounded(limit, np.array([divisor]))
    assert float(new.amount @ count) <= new.at_most[0] + 1e-6


@given(st.lists(st.sampled_from([1.0, 2.0, 4.0, 8.0]), min_size=1, max_size=8), st.integers(1, 40))
def test_what_is_found_is_broken_and_only_by_fractions(sizes: list[float], most: int) -> None:
    amount = np.array(sizes)
    limit = Limit("quota", ("a",), np.zeros(len(amount), int), amount, np.array([float(most)]))
    x = np.minimum(1.0, most / amount.sum()) * np.ones(len(amount))
    for new in broken([limit], np.arange(len(amount)), x):
        assert float(new.amount @ x) > new.at_most[0]
        whole = np.zeros(len(amount))
        for k in np.argsort(amount):
            if amount @ whole + amount[k] <= most:
                whole[k] = 1
        assert float(new.amount @ whole) <= new.at_most[0]


def test_a_quota_of_47_in_pieces_of_2_4_and_8_holds_46() -> None:
    codes, amount = np.array([0, 0, 0, 0, -1]), np.array([1.0, 2.0, 4.0, 8.0, 2.0])
    new = rounded(Limit("quota", ("a",), codes, amount, np.array([47.0])), np.array([2.0]))
    assert new.amount.tolist() == [0, 1, 2, 4, 0]
    assert np.floor(new.at_most).tolist() == [23]
