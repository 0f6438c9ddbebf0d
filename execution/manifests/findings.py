"""What is wrong with a manifest, in sentences; and whether it has the shape it should have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ...catalog.files import did_you_mean
from .shapes import Shape

LONGEST_SHOWN = 60
Shaped = TypeVar("Shaped", bound=Shape)


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake: where it stands, what was found, what was expected, what to do."""

    where: str
    found: str
    expected: str
    remedy: str

    @property
    def sentence(self) -> str:
        return f"{self.where}: found {self.found}; expected {self.expected}; {self.remedy}"


def shown(value: object) -> str:
    """A value, short enough for a sentence."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def shaped(
    shape: type[Shaped], content: Mapping[str, Any], where: str
) -> tuple[Shaped | None, list[Finding]]:
    """The content as a record of that shape, or what keeps it from being one."""
    try:
        return shape.model_validate(content), []
    except ValidationError as error:
        return None, [_finding(one, shape, where) for one in _plain(error.errors())]


def _plain(errors: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """One error a place: a value that fits no member of a union fails once for each."""
    first: dict[str, ErrorDetails] = {}
    for error in errors:
        first.setdefault(path(error["loc"]), error)
    return list(first.values())


def path(location: Iterable[int | str]) -> str:
    """A location as one writes it.

    >>> path(("spec", "containers", 0, "image"))
    'spec.containers[0].image'
    """
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.startswith(("constrained-", "function-")) or part in {"int", "float", "str"}:
            continue  # names of a union's members
        else:
            text += f".{part}" if text else part
    return text


def _finding(error: ErrorDetails, shape: type[Shape], where: str) -> Finding:
    place = f"{where} {path(error['loc'])}".rstrip()
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        known = _fields(shape, error["loc"][:-1])
        return Finding(
            place,
            f"the key '{name}'",
            f"a key that exists there{did_you_mean(name, known)}",
            "correct or remove it",
        )
    if kind == "missing":
        return Finding(place, "nothing", f"the key '{error['loc'][-1]}'", "add it")
    expected = error["msg"][0].lower() + error["msg"][1:]
    for opening in ("input should be ", "value should be "):
        expected = expected.removeprefix(opening)
    if kind in {"int_type", "bool_type"} and isinstance(given, str):
        expected += " without quotes"
    if kind == "string_type" and not isinstance(given, dict | list):
        expected += " in quotes"
    return Finding(place, shown(given), expected, "write it so")


def _fields(shape: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """Keys that may stand at a location."""
    current: Any = shape
    for part in location:
        if isinstance(part, int):
            continue
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            return []
        current = next(iter(_records(field.annotation)), None)
        if current is None:
            return []
    return [*current.model_fields, *getattr(current, "also", "").split()]


def _records(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _records(part)]
