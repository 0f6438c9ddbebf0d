"""What a plan must keep: rules on where and how one may train, and limits on what it uses.

Every constraint of one job is a yes or no for each candidate by itself (a chance constraint too:
the deadline is compared with the candidate's own quantile), so it is a column of truth values.
`Limit`s also say how much of what a candidate uses, which is what relaxations and prices need.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog import Catalog, Purchase
from ..catalog.files import InputError, did_you_mean
from ..catalog.footprint import grams_co2e_per_h
from ..catalog.residency import certificates, country_of, known_certificates, places_meant
from ..profiles.workload import Constraints, Quota, Workload
from .candidates import PURCHASES, TERM_H, Candidates

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

DEDICATED = r"(?i)metal|^BM\."  # instance types that are a whole machine


@dataclass(frozen=True, slots=True)
class Rule:
    """A wish about the kind of place or machine: key of the workload's constraints, and who keeps it."""

    key: str
    kept: Truths


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that must not be exceeded: each candidate's use of it; key as in Rule.

    what: in words, after "a" or "an". unit: USD, s, USD/h, or what a quota counts.
    """

    key: str
    what: str
    unit: str
    limit: float
    use: Floats

    @property
    def kept(self) -> Truths:
        return self.use <= self.limit


Constraint = Rule | Limit


def constraints_of(
    workload: Workload, catalog: Catalog, found: Candidates, offers: Catalog | None = None
) -> tuple[list[Rule], list[Limit]]:
    """All constraints of a workload over its candidates.

    offers: the part of the catalog that may be chosen. Raises InputError for a name that no offer
    has, with the nearest that one has.
    """
    wishes, table = workload.constraints, catalog.offers
    _refuse_unknown_names(workload, catalog)
    by_offer: list[tuple[str, Truths]] = []
    for key, wanted, column in (
        ("providers", wishes.providers, "provider"),
        ("regions", wishes.regions, "region"),
        ("accelerators", wishes.accelerators, "accelerator"),
    ):
        if wanted:
            by_offer.append((key, _among(table, column, wanted)))
    if wishes.forbidden_providers:
        by_offer.append(
            ("forbidden_providers", ~_among(table, "provider", wishes.forbidden_providers))
        )
    if wishes.forbidden_regions:
        by_offer.append(("forbidden_regions", ~_among(table, "region", wishes.forbidden_regions)))
    if wishes.residency:
        allowed = places_meant(wishes.residency)
        by_offer.append(("residency", _by_place(catalog, allowed.__contains__)))
    if wishes.certifications:
        asked = frozenset(wishes.certifications)
        held = _by_place(catalog, lambda place: asked <= certificates(place[0]))
        by_offer.append(("certifications", held))
    if wishes.tenancy == "dedicated":
        whole = table["instance_type"].str.contains(DEDICATED).to_numpy()
        by_offer.append(
            ("tenancy", whole | ~np.isnan(table["owned_usd_h"].to_numpy().astype(float)))
        )
    if offers is not None:
        by_offer.append(("offers", _listed(table, offers.offers)))
    rules = [Rule(key, kept[found.offer]) for key, kept in by_offer]
    if not wishes.spot:
        rules.append(Rule("spot", found.purchase != PURCHASES.index(Purchase.SPOT)))
    if not wishes.reserved:
        rules.append(Rule("reserved", ~np.isin(found.purchase, _committed())))
    if int(found.settings.nodes.max()) > wishes.max_nodes:
        rules.append(Rule("max_nodes", (found.settings.nodes <= wishes.max_nodes)[found.setting]))
    return rules, _limits(wishes, catalog, found)


def _committed() -> list[int]:
    return [index for index, purchase in enumerate(PURCHASES) if purchase in TERM_H]


def _limits(wishes: Constraints, catalog: Catalog, found: Candidates) -> list[Limit]:
    limits = []
    if wishes.deadline_s is not None:
        use = found.time_quantile_s(wishes.deadline_probability)
        limits.append(Limit("deadline_s", "deadline", "s", wishes.deadline_s, use))
    if wishes.budget_usd is not None:
        limits.append(Limit("budget_usd", "budget", "USD", wishes.budget_usd, found.cost_mean_usd))
    if wishes.hourly_usd is not None:
        limits.append(
            Limit("hourly_usd", "hourly cap", "USD/h", wishes.hourly_usd, found.rate_usd_h)
        )
    if wishes.carbon_kg is not None:
        use = carbon_kg(catalog, found)
        limits.append(Limit("carbon_kg", "carbon", "kg", wishes.carbon_kg, use))
    for index, quota in enumerate(wishes.quotas):
        use = quota_use(quota, catalog, found)
        limits.append(Limit(f"quotas.{index}", "quota", quota.words(), quota.most, use))
    return limits


def carbon_kg(catalog: Catalog, found: Candidates) -> Floats:
    """Kilograms of CO2 equivalent: nodes x mean hours x what an hour of the offer's node emits."""
    grams_per_h = grams_co2e_per_h(catalog).to_numpy()[found.offer]
    emitted: Floats = found.nodes * found.time_mean_s / 3600 * grams_per_h / 1000
    return emitted


def quota_use(quota: Quota, catalog: Catalog, found: Candidates) -> Floats:
    """What each candidate uses of a quota: nodes, devices or vCPUs; 0 where it does not apply."""
    table = catalog.offers
    counted = np.ones(table.height, bool)
    for column, wanted in (
        ("provider", quota.provider),
        ("region", quota.region),
        ("accelerator", quota.accelerator),
    ):
        if wanted is not None:
            counted &= _among(table, column, (wanted,))
    if quota.instance_types is not None:
        pattern = quota.instance_types
        names = table["instance_type"].unique().to_list()
        counted &= _among(
            table, "instance_type", tuple(n for n in names if fnmatchcase(n, pattern))
        )
    # This machine is not rented, so that no quota holds for it.
    counted &= (table["provider"] != "local").to_numpy()
    each = {
        "nodes": np.ones(table.height),
        "devices": np.where(
            (table["accelerator"] == "CPU").to_numpy(), 0.0, table["accelerator_count"].to_numpy()
        ),
        "vcpus": table["vcpus"].to_numpy(),
    }[quota.unit]
    use: Floats = (each * counted)[found.offer] * found.nodes
    if quota.purchase is not None:
        use = np.where(found.purchase == PURCHASES.index(Purchase(quota.purchase)), use, 0.0)
    return use


def _among(table: pl.DataFrame, column: str, words: Sequence[str]) -> Truths:
    return table[column].is_in(list(words)).to_numpy()


def _by_place(catalog: Catalog, keeps: Callable[[tuple[str, str]], bool]) -> Truths:
    """Whether each offer's (provider, region) keeps a rule; this machine is the user's own."""
    places = catalog.offers.select("provider", "region")
    known = {place: place[0] == "local" or keeps(place) for place in places.unique().iter_rows()}
    return np.array([known[place] for place in places.iter_rows()])


def _listed(table: pl.DataFrame, offers: pl.DataFrame) -> Truths:
    """Which rows of the table are among the offers."""
    key = ["provider", "region", "instance_type"]
    listed = offers.select(key).unique().with_columns(listed=True)
    joined = table.select(key).join(listed, on=key, how="left", maintain_order="left")
    return joined["listed"].fill_null(False).to_numpy()


def _refuse_unknown_names(workload: Workload, catalog: Catalog) -> None:
    wishes, offers = workload.constraints, catalog.offers
    quotas = wishes.quotas
    for column, words in (
        (
            "provider",
            [*wishes.providers, *wishes.forbidden_providers, *(q.provider for q in quotas)],
        ),
        ("region", [*wishes.regions, *wishes.forbidden_regions, *(q.region for q in quotas)]),
        ("accelerator", [*wishes.accelerators, *(q.accelerator for q in quotas)]),
    ):
        known = set(offers[column].unique().to_list())
        for word in words:
            if word is not None and word not in known:
                raise InputError(
                    f"{workload.name}: no offer has the {column} '{word}'{did_you_mean(word, known)}"
                )
    for quota in quotas:
        pattern = quota.instance_types
        if pattern is None:
            continue
        names = offers["instance_type"].unique().to_list()
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(
                f"{workload.name}: no offer's instance type is like '{pattern}'"
                f"{did_you_mean(pattern, names)}"
            )
    places_meant(wishes.residency)
    for name in wishes.certifications:
        if name not in known_certificates():
            raise InputError(
                f"{workload.name}: no certification '{name}' is listed"
                f"{did_you_mean(name, known_certificates())}"
            )


def constraint_words(one: Constraint, wishes: Constraints) -> str:
    """A constraint in a few words, as the user gave it."""
    if isinstance(one, Limit):
        amount = f"{one.limit:g} {one.unit}"
        if one.key.startswith("quotas"):
            return f"quota of {one.limit:g} {one.unit}"
        sure = f", {wishes.deadline_probability:.0%} sure" if one.unit == "s" else ""
        return f"{one.what} of {amount}{sure}"
    if one.key in ("spot", "reserved"):
        return f"no {one.key}"
    if one.key == "offers":
        return "the --offers expression"
    if one.key == "max_nodes":
        return f"at most {wishes.max_nodes} nodes"
    value = getattr(wishes, one.key)
    listed = value if isinstance(value, str) else ", ".join(value)
    return f"{one.key.replace('_', ' ')}: {listed}"


# ---- what to change where nothing is left ----


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A smallest change of one or several constraints that makes a plan possible again.

    changes: new values by key of the workload's constraints, or by name of the limit that several
    jobs share ("deadline_s of NAME" in a pipeline); "offers" stands for the --offers expression.
    words: the same for people.
    """

    changes: dict[str, object]
    words: tuple[str, ...]

    def applied(self, workload: Workload) -> Workload:
        """The workload with these constraints instead; raises InputError as reading one does."""
        content = workload.model_dump(by_alias=True)
        wishes: dict[str, Any] = content["constraints"]
        for key, value in self.changes.items():
            name, _, index = key.partition(".")
            if name == "quotas":
                wishes["quotas"][int(index)]["most"] = value
            elif name != "offers":
                wishes[name] = value
        return Workload.parse(content, workload.name)


def relaxations(
    workload: Workload,
    catalog: Catalog,
    found: Candidates,
    constraints: Sequence[Constraint],
    loss: Floats,
    most: int = 6,
) -> list[Relaxation]:
    """The smallest relaxations where no candidate keeps every constraint.

    Each set of constraints that suffices when relaxed, and of which no smaller set does, once:
    with the candidate that exceeds the limits among them by the least share, of equal ones that of
    the least loss. The smallest sets come first.
    """
    broken = np.zeros(len(found), np.int64)
    for place, one in enumerate(constraints):
        broken |= (~one.kept).astype(np.int64) << place
    sets = sorted(np.unique(broken).tolist(), key=lambda bits: (bits.bit_count(), bits))
    minimal: list[int] = []
    for bits in sets:
        if bits and not any(bits & smaller == smaller for smaller in minimal):
            minimal.append(bits)
    remedies = []
    for bits in minimal[:most]:
        rows = np.flatnonzero(broken == bits)
        relaxed = [one for place, one in enumerate(constraints) if bits >> place & 1]
        excess = sum((_excess(one, rows) for one in relaxed), np.zeros(len(rows)))
        row = int(rows[np.lexsort((loss[rows], excess))[0]])
        changed = [_change(one, workload.constraints, catalog, found, row) for one in relaxed]
        remedies.append(
            Relaxation(
                {key: value for key, value, _ in changed}, tuple(words for _, _, words in changed)
            )
        )
    return remedies


def _excess(one: Constraint, rows: NDArray[np.intp]) -> Floats:
    """By which share of a limit each row exceeds it; a rule has no size."""
    if isinstance(one, Rule):
        return np.zeros(len(rows))
    return (one.use[rows] - one.limit) / max(one.limit, 1e-9 * float(one.use.max()), 1e-300)


def _change(
    one: Constraint, wishes: Constraints, catalog: Catalog, found: Candidates, row: int
) -> tuple[str, object, str]:
    """(key, new value, words) that lets one candidate in."""
    if isinstance(one, Limit):
        return _raised(one, float(one.use[row]))
    values = catalog.offers.row(int(found.offer[row]), named=True)
    provider, region = values["provider"], values["region"]
    if one.key in ("providers", "regions", "accelerators"):
        word = values[one.key.removesuffix("s")]
        kept = (*getattr(wishes, one.key), word)
        return one.key, kept, f"the {one.key.removesuffix('s')} {word} as well"
    if one.key in ("forbidden_providers", "forbidden_regions"):
        word = provider if one.key.endswith("providers") else region
        kept = tuple(name for name in getattr(wishes, one.key) if name != word)
        return one.key, kept, f"{word} no longer forbidden"
    if one.key == "residency":
        country = country_of((provider, region)) or f"{provider}:{region}"
        return one.key, (*wishes.residency, country), f"data and checkpoints in {country} as well"
    if one.key == "certifications":
        kept = tuple(name for name in wishes.certifications if name in certificates(provider))
        missing = ", ".join(name for name in wishes.certifications if name not in kept)
        return one.key, kept, f"{provider} without {missing}"
    if one.key == "max_nodes":
        nodes = int(found.settings.nodes[found.setting[row]])
        return one.key, nodes, f"{nodes} nodes instead of {wishes.max_nodes}"
    plain: dict[str, tuple[object, str]] = {
        "spot": (True, "spot machines allowed"),
        "reserved": (True, "commitments of one or three years allowed"),
        "tenancy": (None, "machines shared with others"),
        "offers": (None, "offers outside the --offers expression"),
    }
    value, words = plain[one.key]
    return one.key, value, words


def _raised(one: Limit, use: float) -> tuple[str, object, str]:
    """A limit raised to a use, rounded up so that the figure shown still suffices."""
    if one.unit == "s":
        value: float = math.ceil(use)
        return one.key, value, f"a {one.what} of {value} s instead of {one.limit:g} s"
    if one.unit == "kg":
        value = math.ceil(use * 1000) / 1000
        return one.key, value, f"{one.what} of {value:g} kg instead of {one.limit:g} kg"
    if one.unit in ("USD", "USD/h"):
        text = up_to_cents(use)
        article = "an" if one.what.startswith("h") else "a"
        return (
            one.key,
            float(text),
            f"{article} {one.what} of {text} {one.unit} instead of {one.limit:g} {one.unit}",
        )
    value = math.ceil(use)
    return one.key, value, f"a quota of {value} {one.unit} instead of {one.limit:g}"


def up_to_cents(dollars: float) -> str:
    """Dollars rounded up, to cents or three figures, so that the sum still suffices.

    >>> up_to_cents(1.2345), up_to_cents(0.000123456)
    ('1.24', '0.000124')
    """
    digits = max(2, 2 - math.floor(math.log10(dollars))) if dollars > 0 else 2
    scaled = dollars * 10**digits
    if not math.isfinite(scaled) or scaled > 2**52:
        return f"{math.nextafter(dollars, math.inf):.17g}"
    return f"{math.ceil(scaled) / 10**digits:.{digits}f}"


def admitted(constraints: Sequence[Constraint], count: int) -> Truths:
    """The candidates that keep all of the constraints."""
    kept = np.ones(count, bool)
    for one in constraints:
        kept &= one.kept
    return kept
