"""Why a plan was chosen, in words and small tables that read at 80 columns."""

from typing import TYPE_CHECKING

from ..reports.words import duration, share, usd
from .output import figures, out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..optimizer.plan import (
        ConstraintPrice,
        Explanation,
        Front,
        LimitPrice,
        PlannedCandidate,
        Polygon,
    )


SMALLEST_SHOWN = 0.001  # of the weights


def show_explanation(why: "Explanation", chosen: "PlannedCandidate") -> None:
    """What binds and what it costs, the alternatives, the map of weights, what to measure next."""
    _constraints(why)
    if why.alternatives:
        _say("Nearest of the plans that no other beats in time, cost and flexibility at once:")
        for other in why.alternatives:
            _say(
                f"  L {other.losses.total - chosen.losses.total:+.4f}  {_difference(other, chosen)}"
            )
    _weights(why)
    _measuring(why)
    for note in why.notes:
        _say(note)


def _added(dollars: float) -> str:
    """Dollars with their sign, in two digits that count where they are few.

    >>> [_added(dollars) for dollars in (0.0033, -0.5, 1234.5)]
    ['+0.0033', '-0.50', '+1,234']
    """
    return f"{'+' if dollars >= 0 else ''}{usd(dollars)}".replace("$", "")


def show_limits(limits: "Sequence[LimitPrice]") -> None:
    """What each limit that jobs share costs."""
    _say("What each limit that the jobs share costs (+) or saves (-), solved with it and without:")
    table = figures(None, "limit", "used", "of", "costs/h", "p90/h", "costs/USD", "costs/L")
    for one in limits:
        prices = (
            (f"{one.hours:+.3f}", f"{one.p90_hours:+.3f}", _added(one.usd), f"{one.loss:+.4f}")
            if one.binds
            else ("0", "0", "0", "0")
        )
        table.add_row(one.words, f"{one.used:,.4g}", f"{one.limit:,.4g}", *prices)
    out.print(table)


def show_front(front: "Front") -> None:
    """Plans of all jobs between time, cost and flexibility."""
    _say("Plans of all jobs of which none beats another; the weights at which each was found:")
    unit_s, unit = time_unit(max(point.time_s for point in front.points))
    names = ("alpha", "beta", "gamma", f"p90/{unit}", "cost", "flex", "gap")
    table = figures(None, *names, words=0)
    for one in front.points:
        w = one.weights
        table.add_row(
            f"{w.alpha:.3f}",
            f"{w.beta:.3f}",
            f"{w.gamma:.3f}",
            f"{one.time_s / unit_s:,.1f}",
            usd(one.cost_usd),
            f"{one.flexibility:.3f}",
            f"{one.gap:.0e}",
        )
    out.print(table)
    _say(
        f"Whatever the weights (each at least {front.least_weight:g}), one of these is within "
        f"{front.within:.4f} of the least L; {front.solves} solves."
    )


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which times up to so many seconds read well in a column."""
    if seconds < 600:
        return 1.0, "s"
    return (60.0, "min") if seconds < 36_000 else (3600.0, "h")


def _say(text: str) -> None:
    out.print(text, markup=False)


def _constraints(why: "Explanation") -> None:
    if not why.constraints:
        _say("No constraint was stated.")
        return
    binding = [one for one in (*why.constraints, why.together) if one is not None and one.binds]
    if not binding:
        _say("No constraint binds: without any of them the plan would be the same.")
    else:
        _say("What each constraint costs (+) or saves (-), solved with it and without:")
    table = figures(None, "constraint", "used", "costs/h", "p90/h", "costs/USD", "costs/L")
    for one in (*why.constraints, *([why.together] if why.together else [])):
        used = "" if one.used is None else f"{one.used:,.4g}"
        figures_ = (
            (f"{one.hours:+.3f}", f"{one.p90_hours:+.3f}", _added(one.usd), f"{one.loss:+.4f}")
            if one.binds
            else ("0", "0", "0", "0")
        )
        table.add_row(one.words, used, *figures_)
    out.print(table)
    for one in binding:
        _say(_without(one))


def _without(one: "ConstraintPrice") -> str:
    assert one.instead is not None
    words = one.words.removeprefix("the ")
    return f"Without {'any' if ' + ' in one.key else 'the ' + words}: {_plan(one.instead)}."


def _plan(one: "PlannedCandidate") -> str:
    """The plan in a line."""
    offer, predicted = one.offer, one.predicted
    many = f"{one.nodes} x " if one.nodes > 1 else ""
    bought = one.purchase.value.replace("_", " ")
    return (
        f"{many}{offer.instance_type} ({offer.accelerator_count} x {offer.accelerator}), "
        f"{offer.provider} {offer.region}, {bought}, batch {one.per_device_batch}, "
        f"{duration(predicted.time_s.mean)}, {usd(predicted.cost_usd.mean)}"
    )


def _difference(other: "PlannedCandidate", chosen: "PlannedCandidate") -> str:
    slower = other.predicted.time_s.mean - chosen.predicted.time_s.mean
    dearer = other.predicted.cost_usd.mean - chosen.predicted.cost_usd.mean
    time = f"{duration(abs(slower))} {'slower' if slower > 0 else 'quicker'}"
    money = f"{usd(abs(dearer))} {'dearer' if dearer > 0 else 'cheaper'}"
    return f"{_plan(other)}: {time}, {money}"


def _weights(why: "Explanation") -> None:
    if len(why.weight_map) == 1:
        _say(f"At all weights one plan wins: {_plan(why.weight_map[0].candidate)}.")
        return
    _say("Who wins at which weights (share of all weights; exact corners are in the plan file):")
    table = figures(None, "plan", "share", "alpha", "beta", "gamma")
    shown = [cell for cell in why.weight_map if cell.share >= SMALLEST_SHOWN]
    for cell in shown:
        spans = [_span(cell, axis) for axis in range(3)]
        table.add_row(_plan(cell.candidate), share(cell.share), *spans)
    out.print(table)
    if rest := len(why.weight_map) - len(shown):
        _say(f"{rest} more win at under {share(SMALLEST_SHOWN)} of the weights each.")


def _span(cell: "Polygon", axis: int) -> str:
    values = [corner[axis] for corner in cell.corners]
    return f"{min(values):.2f}-{max(values):.2f}"


def _measuring(why: "Explanation") -> None:
    if not why.measuring:
        _say("No further profile is expected to change the choice for the better.")
        return
    _say("What to measure next, by the expected saving on this job:")
    table = figures(None, "profile on", "saves L", "USD", "h", "changes", "costs", "takes")
    for one in why.measuring:
        place = (
            f"{one.accelerator}: {one.offer.provider} {one.offer.region} {one.offer.instance_type}"
        )
        table.add_row(
            place,
            f"{one.loss:.4f}",
            _added(one.usd),
            f"{one.hours:+.3f}",
            share(one.chance),
            usd(one.usd_to_measure),
            duration(one.hours_to_measure * 3600),
        )
    out.print(table)
