"""Price lists of others: each row becomes an offer or is refused with its line and the reason.

Two layouts are read: our own (the columns of the built-in offers.csv, of which `REQUIRED` must be
there) and the SkyPilot catalog's vms.csv. Nothing here touches the user's stored offers.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from .files import InputError, did_you_mean
from .names import accelerator_name
from .skypilot import TYPE, is_skypilot, ours_from_skypilot
from .store import BUILT_IN, OFFER_COLUMNS, OFFER_KEY, Catalog

OTHER_COLUMN_NAMES = {"ondemand_usd_h": "on_demand_usd_h"}
REQUIRED = ("provider", "region", "instance_type", "vcpus", "memory_gib", "price_date", "source")
PRICES = ("on_demand_usd_h", "spot_usd_h", "reserved_1y_usd_h", "reserved_3y_usd_h")
MARKET = PRICES[:2]  # at least one of these: what anyone can rent today
NUMBERS = ("accelerator_count", "vcpus", "memory_gib", "network_gbps", *PRICES)
# An hour of one device (one vCPU of a CPU type) against the median of its accelerator. The widest
# true prices met lie at 1/25 (old V100 hosts of a small provider) and 5.6 (one T4 with 64 vCPU).
UNUSUAL_FACTOR = 4.0
IMPOSSIBLE_FACTOR = 50.0
ROUNDING = 1.001  # a spot price that far above on-demand is the on-demand price, converted twice
LARGEST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row that was left out (or, among the doubts, kept): its line, what it is, and why."""

    line: int
    offer: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """What came of one file: offers with the columns of OFFER_COLUMNS, and what was not taken.

    rows: data rows read; offers + refused = rows, unless several rows make one offer. doubts: kept,
    though their price is unusual.
    """

    offers: pl.DataFrame
    rows: int
    refused: tuple[Refusal, ...]
    doubts: tuple[Refusal, ...]
    completed: int  # offers whose vCPUs and memory were taken from the same type elsewhere

    @property
    def merged(self) -> int:
        """Rows that went into the offer of another: zones of its region, the GPUs of its host."""
        return max(0, self.rows - self.offers.height - len(self.refused))


def read_offers(
    path: Path,
    catalog: Catalog,
    *,
    provider: str | None = None,
    as_of: date | None = None,
) -> Imported:
    """The offers of a price list, .csv or .csv.gz.

    provider: of a list that does not name it (the SkyPilot catalog; else its folder names it).
    as_of: the date of prices in a list without dates; else the file's own date.
    Raises InputError where the file as a whole cannot be read.
    """
    header, lines, rows = _cells(path)
    if is_skypilot(header):
        dated = as_of or datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
        seller = provider or _seller(path, catalog)
        types = catalog.offers.filter(
            pl.col("provider") == seller, pl.col("accelerator") != "CPU"
        ).select(TYPE)
        listed = _frame(header, lines, rows)
        table = ours_from_skypilot(listed, seller, dated, path.name, types)
    else:
        header = [OTHER_COLUMN_NAMES.get(name, name) for name in header]
        _check_header(path, header if as_of is None else [*header, "price_date"])
        table = _frame(header, lines, rows)
        if as_of is not None:
            table = table.with_columns(price_date=pl.lit(str(as_of)))
    broken = _ragged(header, lines, rows)
    return judge(table, catalog, rows=len(rows), refused=broken)


def judge(
    table: pl.DataFrame,
    catalog: Catalog,
    *,
    rows: int,
    refused: Sequence[Refusal] = (),
    today: date | None = None,
) -> Imported:
    """Offers and refusals of a table of text: columns as in our layout, and `line`.

    The first thing that is wrong with a row is its reason. today: no price is of a later day.
    """
    texts = table.with_columns(
        pl.lit(None, pl.String).alias(name) for name in OFFER_COLUMNS if name not in table.columns
    ).select("line", pl.col(*OFFER_COLUMNS).str.strip_chars().replace("", None))
    named, unknown = _with_known_accelerators(texts, catalog)
    typed = named.with_columns(
        *(pl.col(name).cast(pl.Float64, strict=False) for name in NUMBERS),
        *(
            pl.col(name).str.to_date("%Y-%m-%d", strict=False)
            for name in ("price_date", "spot_date")
        ),
    )
    typed, completed = _with_known_sizes(typed, catalog)
    reasons = _first_reason(typed, texts, unknown, catalog, today or datetime.now(UTC).date())
    wrong = reasons.is_not_null()
    refused = (*refused, *_listed(typed.filter(wrong), reasons.filter(wrong)))
    kept, repeated = _once(typed.filter(~wrong))
    kept, impossible, doubts = _against_neighbours(kept, catalog)
    offers = kept.with_columns(
        pl.col("zones").fill_null(""),
        pl.col("spot_date").fill_null(
            pl.when(pl.col("spot_usd_h").is_not_null()).then(pl.col("price_date"))
        ),
        pl.col("accelerator_count").cast(pl.Int64),
        *(
            pl.when(pl.col(name) > pl.col("on_demand_usd_h"))
            .then("on_demand_usd_h")
            .otherwise(name)
            .alias(name)
            for name in PRICES[1:]
        ),
    )
    return Imported(
        offers=offers.select(pl.col(name).cast(kind) for name, kind in OFFER_COLUMNS.items()),
        rows=rows,
        refused=tuple(sorted((*refused, *repeated, *impossible), key=lambda one: one.line)),
        doubts=doubts,
        completed=completed,
    )


# ------------------------------------------------------------------------------- reading


def _cells(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """The header of a CSV file, and of each row its line and its cells."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""))
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        before = reader.line_num
        for row in reader:
            if row:
                lines.append(before + 1)
                rows.append(row)
            before = reader.line_num
    except csv.Error as error:
        raise InputError(f"{path} is no CSV table: {error} at line {reader.line_num}") from None
    if not header:
        raise InputError(f"{path} is empty; expected a CSV table of offers with a header")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path} has the column '{twice[0]}' twice; keep one of them")
    if not rows:
        raise InputError(f"{path} has a header and no rows; expected offers below it")
    return header, lines, rows


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a CSV file")
        packed = path.read_bytes()
        if packed[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(packed)) as file:
                content = file.read(LARGEST_BYTES + 1)
        else:
            content = packed
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{path} is a broken gzip file; fetch it again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_BYTES:
        raise InputError(f"{path} holds over {LARGEST_BYTES >> 20} MiB; that is no list of offers")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text (no UTF-8); expected a CSV table") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing or not set(MARKET) & set(header):
        lacks = missing[0] if missing else MARKET[0]
        known = [name for name in header if name not in OFFER_COLUMNS]
        near = did_you_mean(lacks, known) if known else ""
        near = near.replace("did you mean", "is it") if near.endswith("?") else ""
        raise InputError(
            f"{path} has no column '{lacks}'{near}; expected our columns "
            f"({', '.join((*REQUIRED, *MARKET))}) or those of SkyPilot's vms.csv "
            "(InstanceType, vCPUs, MemoryGiB, Price, Region)"
        )


def _frame(
    header: Sequence[str], lines: Sequence[int], rows: Sequence[Sequence[str]]
) -> pl.DataFrame:
    """The whole rows as columns of text, and the line each begins at."""
    whole = [index for index, row in enumerate(rows) if len(row) == len(header)]
    columns = {
        name: [rows[index][place] for index in whole] for place, name in enumerate(header) if name
    }
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return frame.with_columns(line=pl.Series([lines[index] for index in whole], dtype=pl.Int64))


def _ragged(
    header: Sequence[str], lines: Sequence[int], rows: Sequence[Sequence[str]]
) -> list[Refusal]:
    return [
        Refusal(line, " ".join(row[:3])[:60], f"has {len(row)} cells; the header has {len(header)}")
        for line, row in zip(lines, rows, strict=True)
        if len(row) != len(header)
    ]


def _seller(path: Path, catalog: Catalog) -> str:
    """The provider that a SkyPilot file's folder names, as in catalogs/v8/aws/vms.csv."""
    folder = path.resolve().parent.name
    for name in (folder, path.name.split(".")[0], path.name.split("_")[0]):
        if name in catalog.providers:
            return name
    raise InputError(
        f"{path} does not say whose prices they are; add --provider, for example --provider aws"
    )


# ------------------------------------------------------------------------------ judging


def untrainable() -> dict[str, str]:
    """Accelerators TensorFlow cannot train on, and why."""
    with (BUILT_IN / "untrainable.csv").open(encoding="utf-8", newline="") as file:
        return {row["accelerator"]: row["reason"] for row in csv.DictReader(file)}


def _with_known_accelerators(
    texts: pl.DataFrame, catalog: Catalog
) -> tuple[pl.DataFrame, Mapping[str, str]]:
    """The table with the catalog's names; and what is wrong with each name that cannot be used."""
    cannot = untrainable()
    known = {*catalog.accelerators, *cannot}
    names: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for given in texts["accelerator"].drop_nulls().unique():
        name = accelerator_name(given, known)
        if name is None:
            wrong[given] = f"the accelerator '{given}' is not known{did_you_mean(given, known)}"
        elif name in cannot:
            wrong[given] = f"{name} {cannot[name]}"
        else:
            names[given] = name
    return (
        texts.with_columns(
            accelerator=pl.col("accelerator").replace(names).fill_null("CPU"),
            accelerator_count=pl.when(
                pl.col("accelerator").is_null() | (pl.col("accelerator") == "CPU")
            )
            .then(pl.lit("1"))
            .otherwise(pl.col("accelerator_count")),
        ),
        wrong,
    )


def _with_known_sizes(typed: pl.DataFrame, catalog: Catalog) -> tuple[pl.DataFrame, int]:
    """vCPUs and memory, where a row leaves both out, from the same type in another region."""
    key = ["provider", "instance_type"]
    sizes = (
        pl.concat(
            [
                typed.select(*key, "vcpus", "memory_gib"),
                catalog.offers.select(*key, "vcpus", "memory_gib"),
            ]
        )
        .filter(pl.col("vcpus") > 0, pl.col("memory_gib") > 0)
        .unique(key, keep="first", maintain_order=True)
        .rename({"vcpus": "vcpus_known", "memory_gib": "memory_known"})
    )
    lacks = pl.col("vcpus").is_null() & pl.col("memory_gib").is_null()
    joined = typed.join(sizes, on=key, how="left", maintain_order="left")
    completed = joined.filter(lacks & pl.col("vcpus_known").is_not_null()).height
    return (
        joined.with_columns(
            vcpus=pl.when(lacks).then("vcpus_known").otherwise("vcpus"),
            memory_gib=pl.when(lacks).then("memory_known").otherwise("memory_gib"),
        ).drop("vcpus_known", "memory_known"),
        completed,
    )


def _first_reason(
    typed: pl.DataFrame,
    texts: pl.DataFrame,
    unknown: Mapping[str, str],
    catalog: Catalog,
    today: date,
) -> pl.Series:
    """For each row the first thing that is wrong with it, None where nothing is."""
    given = {name: texts[name] for name in (*NUMBERS, "price_date", "spot_date")}
    devices = (
        catalog.offers.filter(pl.col("accelerator") != "CPU")
        .unique(["provider", "instance_type"], maintain_order=True)
        .select(
            "provider",
            "instance_type",
            pl.concat_str("accelerator_count", "accelerator", separator=" x ").alias(
                "devices known"
            ),
        )
    )
    table = typed.with_columns(
        series.alias(f"{name} given") for name, series in given.items()
    ).join(devices, on=["provider", "instance_type"], how="left", maintain_order="left")

    def when(condition: pl.Expr, *words: pl.Expr | str) -> pl.Expr:
        parts = [pl.lit(word) if isinstance(word, str) else word.cast(pl.String) for word in words]
        return pl.when(condition).then(pl.concat_str(parts, ignore_nulls=True))

    def number(name: str, *, needed: bool) -> list[pl.Expr]:
        value, text = pl.col(name), pl.col(f"{name} given")
        unread = value.is_null() & text.is_not_null()
        bad = value.is_not_null() & ~(value.is_finite() & (value > 0))
        found = [
            when(unread, f"{name} is '", text, "'; a number is expected"),
            when(bad, f"{name} is ", text, "; a number above 0 is expected"),
        ]
        if needed:
            found.append(when(value.is_null(), f"{name} is empty; a number above 0 is expected"))
        return found

    market = pl.all_horizontal(pl.col(name).is_null() for name in MARKET)
    count = pl.col("accelerator_count")
    checks = [
        *(
            when(pl.col(name).is_null(), f"{name} is empty")
            for name in ("provider", "region", "instance_type", "source")
        ),
        *(
            when(
                pl.col(name).str.contains(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
                f"{name} holds a control character",
            )
            for name in ("provider", "region", "instance_type", "source")
        ),
        when(
            pl.col("accelerator").is_in(list(unknown)),
            pl.col("accelerator").replace_strict(dict(unknown), default=None),
        ),
        when(
            (pl.col("accelerator") == "CPU") & pl.col("devices known").is_not_null(),
            "names no accelerator, though its type has ",
            pl.col("devices known"),
            ": the price may be of the host alone",
        ),
        *number("accelerator_count", needed=True),
        when(
            count != count.round(),
            "accelerator_count is ",
            pl.col("accelerator_count given"),
            "; a share of a device is no offer to train on",
        ),
        *number("vcpus", needed=True),
        *number("memory_gib", needed=True),
        *number("network_gbps", needed=False),
        *(check for name in PRICES for check in number(name, needed=False)),
        when(market, "has neither an on-demand nor a spot price"),
        when(
            pl.col("price_date").is_null(),
            "price_date is '",
            pl.col("price_date given").fill_null(""),
            "'; a date such as 2026-07-01 is expected",
        ),
        when(
            pl.col("spot_date").is_null() & pl.col("spot_date given").is_not_null(),
            "spot_date is '",
            pl.col("spot_date given"),
            "'; a date such as 2026-07-01 is expected",
        ),
        when(
            pl.max_horizontal("price_date", "spot_date") > pl.lit(today),
            "the price is of ",
            pl.max_horizontal("price_date", "spot_date"),
            f", a day after today ({today})",
        ),
        *(
            when(
                pl.col(less) > ROUNDING * pl.col("on_demand_usd_h"),
                f"{less} ",
                pl.col(f"{less} given"),
                " is above on_demand_usd_h ",
                pl.col("on_demand_usd_h given"),
            )
            for less in PRICES[1:]
        ),
    ]
    return table.select(reason=pl.coalesce(checks))["reason"]


def _listed(rows: pl.DataFrame, reasons: Iterable[str]) -> list[Refusal]:
    offers = rows.select(
        "line",
        offer=pl.concat_str(OFFER_KEY, separator=" ", ignore_nulls=True),
    )
    return [
        Refusal(line, offer, reason)
        for (line, offer), reason in zip(offers.iter_rows(), reasons, strict=True)
    ]


def _once(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Refusal]]:
    """One row per key, the first; the later ones are refused."""
    first = rows.with_columns(first=pl.col("line").first().over(OFFER_KEY))
    again = pl.col("line") != pl.col("first")
    repeated = first.filter(again)
    reasons = [f"repeats the offer of line {line}" for line in repeated["first"]]
    return first.filter(~again).drop("first"), _listed(repeated, reasons)


def _against_neighbours(
    rows: pl.DataFrame, catalog: Catalog
) -> tuple[pl.DataFrame, list[Refusal], tuple[Refusal, ...]]:
    """Rows without impossible prices; the refusals, and the doubts about unusual ones.

    An hour of one device (of one vCPU for CPU types) is compared with the median of its accelerator
    over the built-in offers, for which that price is known.
    """

    def each(price: str) -> pl.Expr:
        units = pl.when(pl.col("accelerator") == "CPU").then("vcpus").otherwise("accelerator_count")
        return pl.col(price) / units

    medians = catalog.offers.group_by("accelerator").agg(
        each(price).median().alias(f"{price} median") for price in MARKET
    )
    compared = rows.join(medians, on="accelerator", how="left", maintain_order="left")
    ratios = compared.select(
        (each(price) / pl.col(f"{price} median")).alias(price) for price in MARKET
    )

    def outside(factor: float) -> pl.DataFrame:
        return ratios.select(
            ~pl.col(price).is_between(1 / factor, factor).fill_null(True) for price in MARKET
        )

    refused: list[Refusal] = []
    doubts: list[Refusal] = []
    impossible, unusual = outside(IMPOSSIBLE_FACTOR), outside(UNUSUAL_FACTOR)
    for found, marks in ((refused, impossible), (doubts, unusual)):
        for price in MARKET:
            mark = marks[price] & ~impossible[price] if found is doubts else marks[price]
            reasons = [
                f"{price} is {ratio:.2g} times the median of its accelerator for each "
                + ("vCPU" if accelerator == "CPU" else "device")
                for ratio, accelerator in zip(
                    ratios[price].filter(mark), rows["accelerator"].filter(mark), strict=True
                )
            ]
            found += _listed(rows.filter(mark), reasons)
    lines = [one.line for one in refused]
    return (
        rows.filter(~pl.col("line").is_in(lines)),
        list({one.line: one for one in reversed(refused)}.values()),
        tuple(
            one for one in sorted(doubts, key=lambda one: one.line) if one.line not in set(lines)
        ),
    )
