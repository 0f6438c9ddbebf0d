"""Orders to texts, and texts to documents."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from ...catalog.files import InputError, PlainLoader
from . import dlc, sky
from .forms import FORMS
from .order import Order

LARGEST_FILES = 900_000  # bytes; etcd takes 1 MiB with everything else


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lists indented, texts of several lines as blocks, no references."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def text(engine: str, order: Order, *, workspace: str | None = None, folder: str = "") -> str:
    """The file that engine takes; workspace: of PAI; folder: where the user's model lies here.

    Raises InputError for what that engine cannot run.
    """
    size = sum(len(content.encode()) for content in order.code.values())
    if size > LARGEST_FILES:
        raise InputError(
            f"the model's Python files have {size:,} bytes; at most {LARGEST_FILES:,} go into a "
            "ConfigMap. Put them into the image and say where they lie with --code-path"
        )
    if engine == dlc.SERVICE:
        job = dlc.dlc_job(order, workspace)
        return json.dumps(job, indent=2, ensure_ascii=False) + "\n"
    if engine == sky.SERVICE:
        return to_yaml([sky.sky_task(order, folder)])
    return to_yaml(FORMS[engine](order))


def to_yaml(documents: list[dict[str, Any]]) -> str:
    """Documents as one YAML file."""
    parts = [
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
        for one in documents
    ]
    return "---\n".join(parts)


def read(content: str, origin: str) -> list[Mapping[str, Any]]:
    """The documents in a YAML or JSON text; origin is named in the error."""
    try:
        documents = [one for one in yaml.load_all(content, Loader=PlainLoader) if one is not None]
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise InputError(
            f"{origin}{line}: {problem}; expected a manifest in YAML or JSON"
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        # PyYAML lets Python's own errors through, for example of a number with 5,000 digits.
        raise InputError(f"{origin} is no valid YAML: {error}") from None
    if not documents:
        raise InputError(f"{origin} is empty; expected a manifest in YAML or JSON")
    for number, one in enumerate(documents):
        if not isinstance(one, dict):
            raise InputError(
                f"{origin}: document {number + 1} is {type(one).__name__}, not a mapping; expected "
                "objects with apiVersion and kind, a PAI-DLC job or a SkyPilot task"
            )
    return documents
