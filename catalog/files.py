"""Documents on disk: read with one clear sentence when they are wrong, written whole or not at all."""

import json
import os
import re
import tempfile
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

LARGEST_DOCUMENT_BYTES = 256 * 1024 * 1024


class InputError(ValueError):
    """What the user gave cannot be used; the message is the sentence to show."""

    exit_code = 2


class Record(BaseModel):
    """A frozen record that knows all its fields: an unknown key is a mistake, not a wish."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Document(Record):
    """A record that is a file of its own; subclasses add ``schema_id`` with the alias schema."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The document in the YAML or JSON file at path.

        Raises InputError with what was given, what was expected and what to do.
        """
        return cls.parse(read_mapping(path), str(path))

    @classmethod
    def parse(cls, mapping: object, origin: str) -> Self:
        """The document in mapping; origin is named in the error."""
        try:
            return cls.model_validate(mapping)
        except ValidationError as error:
            raise InputError(f"{origin}: {sentence(error, cls)}") from None

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    def write(self, path: Path) -> None:
        write_whole(path, self.to_json())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that offers the nearest known word.

    >>> did_you_mean("T44", ["T4", "V100"])
    "; did you mean 'T4'?"
    """
    names = sorted(set(known))
    if not any(names):
        return "; there are none"
    near = get_close_matches(word, names, n=1, cutoff=0.5) or [
        name for name in names if name.lower() == word.lower()
    ]
    if near:
        return f"; did you mean '{near[0]}'?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; known are {shown}"


def read_text(path: Path) -> str:
    """The text of a file; InputError where there is none."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file")
        if path.stat().st_size > LARGEST_DOCUMENT_BYTES:
            raise InputError(
                f"{path} is over {LARGEST_DOCUMENT_BYTES >> 20} MiB; that is no document of ours"
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text (no UTF-8); expected a YAML or JSON file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


class PlainLoader(yaml.SafeLoader):
    """YAML as text, numbers, truth values, lists and mappings; a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen and name is not None:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{name}' stands twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def _no_timestamp(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    """A date is left as its text: no key of ours is one, and PyYAML fails on what is none."""
    return str(node.value)


PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", _no_timestamp)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's keys and values; ValueError where a key stands twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' stands twice")
    return content


def read_mapping(path: Path) -> dict[str, Any]:
    """The one mapping in a YAML or JSON file; tags that would build Python objects are refused."""
    text = read_text(path)
    is_json = path.suffix == ".json"
    try:
        if is_json:
            content = json.loads(text, object_pairs_hook=_once)
        else:
            content = yaml.load(text, Loader=PlainLoader)
    except yaml.constructor.ConstructorError as error:
        mark = error.problem_mark
        line = f" at line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{path}{line}: {' '.join(str(error.problem).split())}; "
            "only plain YAML (text, numbers, lists, mappings, each key once) is read"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise InputError(f"{path} is not valid YAML{line}: {problem}") from None
    except (ValueError, TypeError, RecursionError) as error:
        # PyYAML lets Python's own errors through, for example of a number with 5,000 digits.
        kind = "JSON" if is_json else "YAML"
        raise InputError(f"{path} is not valid {kind}: {error}") from None
    if content is None:
        raise InputError(f"{path} is empty; expected a mapping of keys to values")
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}; expected a mapping of keys to values"
        )
    return content


def write_whole(path: Path, text: str) -> None:
    """Write text to path so that a reader sees the old file or the new one, never a part."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file to write to")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".isocost-")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake in a validation error, in words, with the nearest key for a misspelt one."""
    mistakes = error.errors(include_url=False)
    # A misspelt key also leaves the right one missing: the misspelling is what to name.
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        return f"unknown key '{where}'{did_you_mean(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"the key '{where}' is missing"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    given = repr(first["input"])
    if first["type"] == "value_error" and (given in message or isinstance(first["input"], dict)):
        return f"{where}: {message}" if first["loc"] else message
    return f"{where} is {given[:80]}: {message[0].lower()}{message[1:]}"


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys a record expects at a location inside model."""
    current: Any = model
    for part in location:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            break
        field = current.model_fields.get(str(part))
        if field is None:
            break
        current = next(
            (
                kind
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            None,
        )
    if not (isinstance(current, type) and issubclass(current, BaseModel)):
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


_UNIT_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "min": 60.0, "s": 1.0}


def seconds(value: object) -> object:
    """Seconds in a duration as people write it; anything that is no text is left to the next check.

    >>> seconds("1h30m"), seconds("45s"), seconds(90)
    (5400.0, 45.0, 90)
    """
    if not isinstance(value, str):
        return value
    text = value.replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)(d|h|min|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(
            f"{value!r} is no duration; write for example '90s', '45m', '6h' or '1d12h'"
        )
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


# Editors check files by the JSON Schema, which has to allow durations as people write them.
Seconds = Annotated[
    float,
    BeforeValidator(
        seconds,
        json_schema_input_type=float
        | Annotated[str, Field(pattern=r"^\s*(\d+(\.\d+)?\s*(d|h|min|m|s)\s*)+$", examples=["6h"])],
    ),
]
