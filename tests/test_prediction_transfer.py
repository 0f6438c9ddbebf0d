"""Steps carried over to accelerators on which a model was not measured, and rows measured again."""

import math

import numpy as np
import pytest

from isocost.catalog import load
from isocost.profiles.law import points
from isocost.profiles.scaling import Scaling
from isocost.profiles.series import group
from isocost.profiles.sheets import Sheet, sheet
from isocost.profiles.spread import Kind, Spread, left_out
from isocost.profiles.table import Row
from isocost.profiles.transfer import Spreads, Transfer

ACCELERATORS = load().accelerators


def _sheet(name: str) -> Sheet:
    found = sheet(name, ACCELERATORS)
    assert found is not None
    return found


def _step_log(at: Sheet) -> float:
    """A step as the sheet has it, between its two rates."""
    return 36.0 - (math.log(at.fed_rate(False)) + math.log(at.bytes_s)) / 2


def _rows(slower: dict[str, float], models: int = 8) -> list[Row]:
    """Rows of batch 32, each accelerator slower than its sheet by a factor."""
    return [
        Row(
            i,
            {"model": f"net{i}", "accelerator": name},
            32.0,
            1,
            1,
            1,
            32 / (factor * (1 + 0.1 * i) * math.exp(_step_log(_sheet(name)))),
        )
        for name, factor in slower.items()
        for i in range(models)
    ]


def _carried(known: list[Row], target: str) -> tuple[float, float]:
    """Step on target over what its sheet has, from a V100, and sigma."""
    transfer = Transfer.of(group(known, ()), ACCELERATORS)
    source, there = _sheet("V100"), _sheet(target)
    sources = {source.name: (math.exp(_step_log(source)), 0.0)}
    step_s, sigma = transfer.step_s("mine", False, 32.0, there, sources)
    return step_s / math.exp(_step_log(there)), sigma


def test_what_one_accelerator_finds_beyond_its_sheet_others_of_its_architecture_expect() -> None:
    plain = {"V100": 1.0, "P100": 1.0, "A100": 1.0, "RTX2080Ti": 1.0}
    slow = {**plain, "RTX2080Ti": 1.6}
    assert _carried(_rows(plain), "QuadroRTX6000")[0] == pytest.approx(1.0, abs=0.1)
    same, sigma = _carried(_rows(slow), "QuadroRTX6000")
    other, other_sigma = _carried(_rows(slow), "L4")
    assert 1.1 < same < 1.6
    assert other < same
    assert sigma < other_sigma


def test_a_source_that_is_itself_in_doubt_counts_less() -> None:
    transfer = Transfer((), {s.name: s for s in map(_sheet, ("V100", "T4"))}, Spreads(), (1, 1))
    target = _sheet("A100")
    at = {name: math.exp(_step_log(_sheet(name))) for name in ("V100", "T4")}
    sources = {_sheet("V100").name: (at["V100"], 0.0), _sheet("T4").name: (3 * at["T4"], 0.0)}
    even, _ = transfer.step_s("mine", False, 32.0, target, sources)
    sources[_sheet("T4").name] = (3 * at["T4"], 1.0)
    doubted, _ = transfer.step_s("mine", False, 32.0, target, sources)
    assert doubted < even
    assert doubted == pytest.approx(math.exp(_step_log(target)), rel=0.15)


def test_an_accelerator_without_a_bandwidth_has_no_sheet() -> None:
    assert ACCELERATORS["H100-NVL"].bandwidth_gb_s is None
    assert sheet("H100-NVL", ACCELERATORS) is None


def test_rows_measured_again_with_other_results_widen_the_interval_of_measured_ones() -> None:
    at = points([(b, 1, 1, 1) for b in (8, 8, 16, 16, 32, 32, 64, 64)])
    apart = np.tile([1.0, 1.3], 4)
    repeated = [mask for mask in left_out(at) if set(at.batch[mask]) == set(at.batch[~mask])]
    assert len(repeated) == 2
    series = [(at, scale * at.batch / 100 * apart) for scale in (1.0, 2.0, 3.0, 4.0)]
    spread = Spread.learned(series)
    assert spread.factors[Kind.MEASURED].fit > 1
    once = points([(b, 1, 1, 1) for b in (8, 16, 32, 64)])
    fit = Scaling.fit(once, once.batch / 100)
    assert (spread.sigma(fit, once)[0] > Spread.assumed().sigma(fit, once)[0]).all()
