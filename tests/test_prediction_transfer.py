"""Steps carried over to accelerators on which a model was not measured, and rows measured again."""

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from isocost.catalog import load
from isocost.profiles.law import points
from isocost.profiles.predict import Predictor, deviation_of_another
from isocost.profiles.scaling import Scaling
from isocost.profiles.series import group
from isocost.profiles.sheets import Sheet, sheet
from isocost.profiles.spread import Kind, Spread, left_out
from isocost.profiles.table import Row
from isocost.profiles.transfer import INTENSITY, Spreads, Transfer, least_fixed_s

ACCELERATORS = load().accelerators


def _sheet(name: str) -> Sheet:
    found = sheet(name, ACCELERATORS)
    assert found is not None
    return found


def _step_log(at: Sheet) -> float:
    """A step as the sheet has it: the roofline of its two rates."""
    compute, memory = math.log(at.held_rate(False)), math.log(INTENSITY * at.bytes_s)
    return 36.0 + 2 * math.log(math.exp(-compute / 2) + math.exp(-memory / 2))


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


def test_a_sheets_rate_is_what_the_card_holds() -> None:
    t4, v100, a40, k80 = (_sheet(name) for name in ("T4", "V100", "A40", "K80"))
    assert t4.held_rate(False) / t4.flops == pytest.approx(math.sqrt(585 / 1590))
    assert v100.held_rate(False) / v100.flops > 0.9
    # Lanes that serve whole numbers too have fewer left; matrix units serve nothing else.
    assert a40.held_rate(False) / a40.flops < 0.8 * a40.held_rate(True) / a40.half_flops
    assert k80.held_rate(False) / k80.flops < 0.5
    for each in (t4, v100, a40, k80):
        assert 0 < each.held_rate(True) <= each.half_flops


def test_the_least_fixed_cost_of_curves_over_the_batch_is_kept() -> None:
    batches = [8.0, 16.0, 64.0]
    curves = [(batches, a + np.array(batches) / 500) for a in (0.02, 0.05)]
    assert least_fixed_s(curves) == pytest.approx(0.02, rel=1e-6)
    assert least_fixed_s([([8.0], np.array([0.1]))]) == 0.0
    assert least_fixed_s([(batches, np.array(batches) / 500)]) == pytest.approx(0.0, abs=1e-9)


def test_a_step_of_fixed_cost_gains_less_from_a_quicker_accelerator() -> None:
    transfer = Transfer((), {s.name: s for s in map(_sheet, ("T4", "P100"))}, Spreads(), (1, 1))
    sources = {each.name: (0.1, 0.0) for each in map(_sheet, ("T4", "P100"))}
    steps = [
        transfer.step_s("mine", False, 32.0, _sheet("V100"), sources, fixed_s)[0]
        for fixed_s in (0.0, 0.03, 0.06, 0.1, 0.5)
    ]
    assert steps == sorted(steps)
    assert steps[0] < 0.75 * steps[-1] < 0.1


def test_the_same_chip_with_more_memory_is_surer_than_another_of_its_architecture() -> None:
    transfer = Transfer((), {s.name: s for s in map(_sheet, ("V100", "P100"))}, Spreads(), (1, 1))
    sources = {_sheet("V100").name: (0.1, 0.0)}
    twin, sigma = transfer.step_s("mine", False, 32.0, _sheet("V100-32GB"), sources)
    assert twin == pytest.approx(0.1, rel=0.01)
    other = transfer.step_s("mine", False, 32.0, _sheet("TITANV"), sources)[1]
    assert sigma < other


def test_what_others_measured_does_not_say_how_far_a_table_is_to_be_trusted() -> None:
    own = group(_rows({"V100": 1.0, "P100": 1.1, "T4": 0.9}), ())
    others = group(_rows({"V100": 1.0, "A100": 2.0, "RTX2080Ti": 0.5}, models=3), ())
    alone, helped = Transfer.of(own, ACCELERATORS), Transfer.of(own, ACCELERATORS, others)
    assert helped.spreads == alone.spreads
    assert len(helped.readings) > len(alone.readings)
    assert _sheet("A100").name in helped.sheets
    assert Transfer.of([], ACCELERATORS, others).readings


def test_an_accelerator_that_no_alike_workload_was_measured_on_is_unseen() -> None:
    """Whatever else was measured there."""
    sheets = {each.name: each for each in map(_sheet, ("V100", "T4"))}
    sources = {_sheet("V100").name: (0.1, 0.0)}
    plain, unseen = (
        Transfer((), sheets, Spreads(), reach).step_s("mine", False, 32.0, _sheet("T4"), sources)[1]
        for reach in ((1.0, 1.0), (1.0, 3.0))
    )
    assert unseen == pytest.approx(3 * plain)


def test_two_accelerators_that_keep_to_their_sheets_do_not_make_a_third_certain() -> None:
    """However well they do: what was left out of two differs once only."""
    kept = {"V100": 1.0, "P100": 1.02, "T4": 0.99, "K80": 1.03, "M60": 0.97, "RTX2080Ti": 1.01}
    few, many = (
        _carried(_rows({name: kept[name] for name in names}, models=2), "A100")[1]
        for names in (("V100", "P100"), tuple(kept))
    )
    assert few > many
    assert few > 0.05


def test_more_devices_that_were_quicker_elsewhere_promise_nothing_here() -> None:
    def row(accelerator: str, devices: int, step_s: float) -> Row:
        cells = {"model": "net", "accelerator": accelerator}
        return Row(2, cells, 8.0, devices, 1, devices, 8 * devices / step_s)

    known = [row(name, n, s) for name in ("K80", "M60") for n, s in ((1, 0.5), (4, 0.2))]
    one, four = Predictor.of(known, [row("H100", n, 1.0) for n in (1, 4)], ACCELERATORS).predict(
        [row("H100", n, 1.0) for n in (1, 4)]
    )
    assert one is not None
    assert four is not None
    assert 0 < four.p05 < four.throughput < four.p95
    assert four.throughput <= 4 * one.throughput * (1 + 1e-9)


def test_exchange_seen_on_few_accelerators_leaves_that_of_another_open() -> None:
    """Two alike say less than four, and some that differ less than some that do not."""
    alike = [deviation_of_another([1.0] * count, 0.5) for count in (1, 2, 4, 16)]
    assert alike == sorted(alike, reverse=True)
    assert alike[-1] < 0.5 < alike[0]
    assert deviation_of_another([0.5, 1.0, 1.5], 0.5) > deviation_of_another([1.0] * 3, 0.5)


@settings(deadline=None, max_examples=25, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    st.lists(st.tuples(st.floats(1e-4, 1), st.floats(1e-4, 1)), min_size=1, max_size=3),
    st.sampled_from(["H100", "A100", "T4", "L4", "TPU-v3"]),
    st.sampled_from([(1, 1, 1), (4, 1, 4), (8, 2, 4)]),
)
def test_more_samples_never_take_less_time_elsewhere(
    lines: list[tuple[float, float]], target: str, place: tuple[int, int, int]
) -> None:
    def row(accelerator: str, batch: float, place: tuple[int, int, int], step_s: float) -> Row:
        cells = {"model": "net", "accelerator": accelerator}
        return Row(2, cells, batch, *place, batch * place[0] / step_s)

    known = [
        row(name, b, here, fixed + slope * b + 0.01 * math.log2(here[0]))
        for name, (fixed, slope) in zip(("K80", "M60", "V100"), lines, strict=False)
        for b in (1.0, 8.0, 64.0)
        for here in ((1, 1, 1), (4, 1, 4))
    ]
    asked = [row(target, float(b), place, 1.0) for b in np.geomspace(0.5, 512, 25)]
    found = Predictor.of(known, asked, ACCELERATORS).predict(asked)
    steps = [
        one.batch / p.throughput for one, p in zip(asked, found, strict=True) if one.batch and p
    ]
    assert len(steps) == len(asked)
    assert all(p and p.basis == "transferred" and p.p05 < p.throughput < p.p95 for p in found)
    assert (np.diff(steps) >= -1e-9 * np.array(steps[1:])).all()
