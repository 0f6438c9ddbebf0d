"""isocost catalog refresh: today's prices from the providers themselves."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import polars as pl

    from ..catalog.live import Refreshed, Source


def refresh(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Whom to ask, for example aws azure; by default all that need no key."),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Only these regions; by default those the catalog has."),
    ] = None,
    known: Annotated[bool, typer.Option("--list", help="List the sources and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Ask the providers for today's prices and keep them in your own catalog.

    Keys come from the environment (--list says which); ISOCOST_URL_AZURE and its like lead to another
    address. What one source does not give keeps its old price, and its old date.

    Example: isocost catalog refresh azure --region eastus --region westeurope
    """
    import os
    from datetime import UTC, datetime

    from ..catalog import catalog_of
    from ..catalog.files import InputError, did_you_mean
    from ..catalog.live import SOURCES, RefreshError
    from ..catalog.live import refresh as ask
    from ..catalog.shelf import put, put_refusals
    from .output import err

    if known:
        _list_sources()
        return
    for name in sources or []:
        if name not in SOURCES:
            raise InputError(f"there is no source '{name}'{did_you_mean(name, SOURCES)}")
    names = sources or [
        name
        for name, source in SOURCES.items()
        if name == source.provider and all(os.environ.get(key) for key in source.needs)
    ]
    catalog = catalog_of("all")
    outcomes: list[dict[str, object]] = []
    failed: list[str] = []
    for name in names:
        with err.status(f"asking {name}") as status:
            try:
                done = ask(
                    SOURCES[name],
                    catalog,
                    regions=region or [],
                    settings=os.environ,
                    today=datetime.now(UTC).date(),
                    note=lambda text: status.update(f"asking {text}"),
                )
            except RefreshError as error:
                failed.append(str(error))
                continue
        stored = f"refresh-{name}"
        put(stored, _with_earlier(stored, done))
        put_refusals(stored, done.found.refused)
        outcomes.append(_outcome(SOURCES[name], done))
    if as_json:
        typer.echo(json.dumps({"refreshed": outcomes, "failed": failed}, indent=1))
    else:
        _show(outcomes)
    if failed:
        raise RefreshError("; ".join(failed))


def _with_earlier(stored: str, done: "Refreshed") -> "pl.DataFrame":
    """The new offers, and the earlier ones of regions that were not asked for now."""
    import polars as pl

    from ..catalog.shelf import stored_sources, take

    if stored not in stored_sources():
        return done.found.offers
    earlier = take(stored)
    return pl.concat(
        [done.found.offers, earlier.filter(~pl.col("region").is_in(list(done.regions)))]
    )


def _outcome(source: "Source", done: "Refreshed") -> dict[str, object]:
    return {
        "source": source.name,
        "provider": source.provider,
        "regions": len(done.regions),
        "offers": done.found.offers.height,
        "refused": len(done.found.refused),
        "unknown_types": list(done.unknown),
    }


def _show(outcomes: list[dict[str, object]]) -> None:
    from .output import figures, out

    if not outcomes:
        return
    table = figures(None, "source", "regions", "offers", "refused", "not described")
    for one in outcomes:
        unknown = one["unknown_types"]
        assert isinstance(unknown, list)
        table.add_row(
            str(one["source"]),
            f"{one['regions']}",
            f"{one['offers']:,}",
            f"{one['refused']:,}",
            f"{len(unknown):,} types",
        )
    out.print(table)
    out.print(
        "Types that neither their provider nor the catalog describes were left out; "
        "a list for isocost catalog import can describe them.",
        soft_wrap=True,
    )


def _list_sources() -> None:
    from ..catalog.live import SOURCES
    from .output import figures, out

    table = figures(None, "source", "provider", "what", "needs", words=4)
    for source in SOURCES.values():
        table.add_row(source.name, source.provider, source.about, "\n".join(source.needs))
    out.print(table)
