"""isocost catalog diff: which prices changed, and which plans that alters."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..catalog import Catalog
    from ..catalog.changes import Changes
    from ..optimizer.plan import Plan, PlannedCandidate


def diff(
    old: Annotated[
        str,
        typer.Argument(
            help="A price list, the name of one you imported, or built-in, imported, all."
        ),
    ],
    new: Annotated[str, typer.Argument(help="The same, for what it is compared with.")] = "all",
    plan: Annotated[
        list[Path] | None,
        typer.Option(help="Plans to try with both; by default those in this folder."),
    ] = None,
    no_plans: Annotated[bool, typer.Option("--no-plans", help="Compare prices alone.")] = False,
    provider: Annotated[
        str | None, typer.Option(help="Whose prices a SkyPilot list holds.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Prices to show; 0 for all.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Say which prices changed between two lists, and which plans would now come out otherwise.

    Each plan is solved again with the old and with the new prices; offers in neither list stay.

    Example: isocost catalog diff built-in refresh-azure --plan plan.json
    """
    from ..catalog.changes import changes, offers_of, side_by_side
    from ..catalog.shelf import catalog_of
    from .output import waiting

    before, after = offers_of(old, provider), offers_of(new, provider)
    found = changes(before, after)
    plans = [] if no_plans else [(path, _read(path)) for path in plan or _plans_here()]
    outcomes: list[dict[str, object]] = []
    if plans:
        catalogs = side_by_side(catalog_of("all"), before, after)
        with waiting("Planning again with both"):
            outcomes = [one for path, read in plans for one in _tried(path, read, *catalogs)]
    if as_json:
        prices = json.loads(found.prices.write_json())
        typer.echo(
            json.dumps(
                {
                    "old": found.old,
                    "new": found.new,
                    "added": found.added.height,
                    "removed": found.removed.height,
                    "prices": prices,
                    "plans": outcomes,
                },
                indent=1,
            )
        )
        return
    _show_prices(found, limit)
    for outcome in outcomes:
        typer.echo(outcome["words"])
    if not plans and not no_plans:
        typer.echo("There is no plan in this folder; --plan names one to try.")


def _plans_here() -> list[Path]:
    """Files of this folder that are plans."""
    found = []
    for path in sorted(Path().glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get("schema") == "isocost/plan/v1":
            found.append(path)
    return found


def _read(path: Path) -> "Plan":
    from ..optimizer.plan import Plan

    return Plan.read(path)


def _tried(
    path: Path, plan: "Plan", before: "Catalog", after: "Catalog"
) -> list[dict[str, object]]:
    """For each job of a plan: what is chosen with the old and with the new prices."""
    solved = [_solved(plan, catalog) for catalog in (before, after)]
    if isinstance(solved[0], str) or isinstance(solved[1], str):
        said = [
            f"{when}: {one}"
            for when, one in zip(("old", "new"), solved, strict=True)
            if isinstance(one, str)
        ]
        words = f"{path}: no plan is possible with the prices of the list that is {'; '.join(said)}"
        altered = isinstance(solved[0], str) != isinstance(solved[1], str)
        return [{"plan": str(path), "job": None, "altered": altered, "words": words}]
    outcomes: list[dict[str, object]] = []
    for was, now in zip(solved[0].jobs, solved[1].jobs, strict=True):
        altered = _identity(was.chosen) != _identity(now.chosen)
        cost = f"{_usd(was.chosen)} to {_usd(now.chosen)}"
        words = f"{path}: {was.name} " + (
            f"would change from {_named(was.chosen)} to {_named(now.chosen)}; cost {cost}"
            if altered
            else f"stays with {_named(was.chosen)}; cost {cost}"
        )
        outcomes.append(
            {
                "plan": str(path),
                "job": was.name,
                "altered": altered,
                "old": _identity(was.chosen),
                "new": _identity(now.chosen),
                "old_cost_usd": was.chosen.predicted.cost_usd.mean,
                "new_cost_usd": now.chosen.predicted.cost_usd.mean,
                "words": words,
            }
        )
    return outcomes


def _solved(plan: "Plan", catalog: "Catalog") -> "Plan | str":
    """The plan made again over a catalog; the reason where none is possible.

    Options that shaped the plan and stand in it only as its command are read from there.
    """
    from ..catalog import this_machine, with_owned
    from ..optimizer.generating import NoCandidate
    from ..optimizer.optimize import Infeasible, Job, optimize
    from ..profiles import store
    from ..profiles.measure import this_host
    from ..profiles.records import Profile
    from .output import only_ours_on_stdout

    jobs = []
    imported = store.imported()
    for one in plan.jobs:
        profile = Profile.read(Path(one.profile)) if one.profile else None
        jobs.append(
            Job(
                one.workload.model_copy(update={"weights": one.weights}),
                Path(one.folder),
                profile,
                Path(one.profile) if one.profile else None,
                profiled_here=profile is None or profile.host == this_host(),
                measured=imported,
            )
        )
    price, owned, offers = (
        _option(plan.command, name) for name in ("--local-price", "--owned", "--offers")
    )
    local = this_machine(None if price is None else float(price))
    whole = with_owned(catalog, None if owned is None else Path(owned))
    try:
        allowed = whole.with_offer(local).filtered(offers) if offers else None
        with only_ours_on_stdout():
            return optimize(jobs, whole, local, offers=allowed, objective=plan.objective)
    except (Infeasible, NoCandidate) as error:
        return str(error)


def _option(command: str, name: str) -> str | None:
    """The value of an option in a command line.

    >>> _option("isocost optimize a.yaml --offers 'vcpus > 4' --local-price=2", "--offers")
    'vcpus > 4'
    >>> _option("isocost optimize a.yaml --local-price=2", "--local-price")
    '2'
    """
    import shlex

    words = shlex.split(command)
    for place, word in enumerate(words):
        if word == name:
            return words[place + 1] if place + 1 < len(words) else None
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _identity(one: "PlannedCandidate") -> dict[str, object]:
    offer = one.offer
    return {
        "provider": offer.provider,
        "region": offer.region,
        "instance_type": offer.instance_type,
        "purchase": one.purchase.value,
        "nodes": one.nodes,
        "per_device_batch": one.per_device_batch,
        "knobs": one.knobs.model_dump(),
    }


def _named(one: "PlannedCandidate") -> str:
    offer = one.offer
    bought = one.purchase.value.replace("_", "-")
    return f"{one.nodes} x {offer.provider} {offer.region} {offer.instance_type} ({bought})"


def _usd(one: "PlannedCandidate") -> str:
    from ..reports.words import usd

    return usd(one.predicted.cost_usd.mean)


def _show_prices(found: "Changes", limit: int) -> None:
    from rich.markup import escape

    from .output import figures, out

    shown = found.prices.head(limit) if limit else found.prices
    if shown.height:
        table = figures(None, "provider", "region", "type", "price", "old", "new", "%", words=4)
        for row in shown.iter_rows(named=True):
            table.add_row(
                escape(row["provider"]),
                escape(row["region"]),
                escape(row["instance_type"]),
                row["price"].removesuffix("_usd_h").replace("on_demand", "demand"),
                f"{row['old']:.4g}",
                f"{row['new']:.4g}",
                f"{100 * row['change']:+.1f}",
            )
        out.print(table)
    rest = found.prices.height - shown.height
    if rest:
        out.print(f"... and {rest:,} more; --limit 0 shows all.")
    rises = found.prices.filter(found.prices["change"] > 0).height
    out.print(
        f"{found.old:,} offers against {found.new:,}: {found.prices.height:,} prices changed "
        f"({rises:,} up, {found.prices.height - rises:,} down), {found.added.height:,} offers new, "
        f"{found.removed.height:,} gone.",
        soft_wrap=True,
    )
