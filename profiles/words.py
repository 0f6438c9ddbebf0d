"""Settings as people write them: ``batch=64,workers=2,xla=on``."""

from typing import TypeVar

from ..catalog.files import InputError, did_you_mean
from .records import Knobs, Setting
from .workload import Workload

T = TypeVar("T")

_PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
    "mixed_bfloat16": "mixed_bfloat16",
    "mixed_float16": "mixed_float16",
}
_STRATEGIES = ("one_device", "mirrored", "multi_worker_mirrored")
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
_KEYS = ("batch", "workers", "devices", "precision", "xla", "strategy")


def parse_setting(text: str, workload: Workload) -> Setting:
    """The setting of this machine's processors that text describes; what it leaves out is the plainest.

    Raises InputError for a key or value that is none.
    """
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or key not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            raise InputError(
                f"'{part}' in '{text}' is no part of a setting{hint}; write key=value with the keys "
                f"{', '.join(_KEYS)}"
            )
        if key in given:
            raise InputError(f"'{text}' gives {key} twice")
        given[key] = value
    batches = sorted(workload.per_device_batch)
    devices = _count(given, "devices", 1)
    knobs = {
        "precision": _one_of(given, "precision", _PRECISIONS, "float32"),
        "xla": _one_of(given, "xla", _SWITCH, False),
        "strategy": _one_of(
            given,
            "strategy",
            {name: name for name in _STRATEGIES},
            "mirrored" if devices > 1 else "multi_worker_mirrored",
        ),
        "workers_per_node": _count(given, "workers", 1),
    }
    return Setting(
        accelerator="CPU",
        devices_per_node=devices,
        per_device_batch=_count(given, "batch", batches[len(batches) // 2]),
        knobs=Knobs.model_validate(knobs),
    )


def _count(given: dict[str, str], key: str, default: int) -> int:
    text = given.get(key)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{key}={text}: expected a whole number above 0")
    return int(text)


def _one_of(given: dict[str, str], key: str, words: dict[str, T], default: T) -> T:
    text = given.get(key)
    if text is None:
        return default
    if text not in words:
        raise InputError(f"{key}={text}: expected {', '.join(words)}{did_you_mean(text, words)}")
    return words[text]
