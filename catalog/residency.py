"""In which country a region lies, and which certifications a provider holds, as far as was read."""

import csv
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from .files import InputError, did_you_mean

DATA = Path(__file__).parent / "data"
EU = frozenset(
    [
        "AT",
        "BE",
        "BG",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
    ]
)
GROUPS: Mapping[str, frozenset[str]] = {"EU": EU, "EEA": EU | {"IS", "LI", "NO"}}

Place = tuple[str, str]  # provider, region


def country_of(place: Place) -> str | None:
    """The country (ISO 3166, two letters) that a provider's region lies in; None where unknown.

    >>> country_of(("aws", "eu-central-1"))
    'DE'
    """
    return _countries().get(place)


def places_meant(words: Iterable[str]) -> frozenset[Place]:
    """The places in the countries, groups of countries (EU, EEA) and provider:regions named.

    A place whose country is not known is in none. Raises InputError for a word that is none of
    these, with the nearest that is.
    """
    countries = _countries()
    found: set[Place] = set()
    for word in words:
        if ":" in word:
            provider, region = word.split(":", 1)
            found.add((provider, region))
            continue
        members = GROUPS.get(word.upper(), frozenset({word.upper()}))
        inside = {place for place, country in countries.items() if country in members}
        if not inside:
            known = {*GROUPS, *countries.values()}
            written = "write two letters such as DE, or EU, EEA or provider:region"
            hint = did_you_mean(word, known) if re.fullmatch(r"\w{2,3}", word) else ""
            raise InputError(f"no region lies in '{word}'; {written}{hint}")
        found |= inside
    return frozenset(found)


def certificates(provider: str) -> frozenset[str]:
    """The certifications that a provider is known to hold; none where none was read."""
    return _certificates().get(provider, frozenset())


def known_certificates() -> frozenset[str]:
    """Every certification that some provider holds."""
    return frozenset().union(*_certificates().values())


@lru_cache
def _countries() -> Mapping[Place, str]:
    return {(row["provider"], row["region"]): row["country"] for row in _rows("countries.csv")}


@lru_cache
def _certificates() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in _rows("certifications.csv"):
        found.setdefault(row["provider"], set()).add(row["certification"])
    return {provider: frozenset(names) for provider, names in found.items()}


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
