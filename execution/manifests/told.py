"""What a worker is told, in any form: its contract, its image, its environment."""

import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from .findings import Finding, path, shown
from .order import BOOTSTRAP, DIGEST, NO_IMAGE, WORK, Contract
from .secrets import secret_in, secret_name

# What the worker program itself reads of the contract's spec; see execution/worker.py.
SPEC_KEYS = ("schema", "model", "model_folder", "per_device_batch", "global_batch", "folder")

# What is chosen when the manifest is made, or known there alone.
NOT_PLANNED = {"folder", "model_folder", "began", "started", "seed", "stop_after", "checkpointing"}


def contract_in(value: str | None, where: str) -> tuple[Contract | None, list[Finding]]:
    """The contract in the value of ISOCOST_WORK."""
    remedy = "write it as isocost run --dry-run does"
    if value is None:
        return None, [Finding(where, f"no {WORK}", "what the worker is to do, as JSON", remedy)]
    place = f"{where} {WORK}"
    try:
        content = json.loads(value)
    except ValueError as error:
        return None, [Finding(place, f"no JSON ({error})", "one JSON object", remedy)]
    try:
        contract = Contract.model_validate_json(value)
    except ValidationError as error:
        first = error.errors()[0]
        given = shown(first["input"]) if first["type"] != "missing" else "nothing"
        expected = first["msg"][0].lower() + first["msg"][1:]
        return None, [Finding(f"{place} {path(first['loc'])}".rstrip(), given, expected, remedy)]
    missing = [key for key in SPEC_KEYS if key not in content["spec"]]
    if missing:
        words = f"no {', '.join(missing)}"
        return contract, [Finding(f"{place} spec", words, "the worker's whole file", remedy)]
    return contract, list(_batches(contract, place))


def _batches(contract: Contract, place: str) -> Iterator[Finding]:
    """The global batch is what all replicas take in a step; a TPU's cores are not told here."""
    each, whole = contract.spec["per_device_batch"], contract.spec["global_batch"]
    if not isinstance(each, int) or not isinstance(whole, int):
        found = f"{shown(each)} and {shown(whole)}"
        yield Finding(f"{place} spec", found, "whole numbers as batches", "write them so")
        return
    knobs = contract.spec.get("knobs")
    parts = knobs.get("accumulate", 1) if isinstance(knobs, dict) else 1
    replicas = contract.workers * max(1, contract.devices)
    wanted = each * replicas * (parts if isinstance(parts, int) else 1)
    if contract.device != "google.com/tpu" and wanted != whole:
        taken = f", {parts} times" if parts != 1 else ""
        yield Finding(
            f"{place} spec.global_batch",
            shown(whole),
            f"{wanted}, {each} on each of {replicas} replicas{taken}",
            "make the manifest anew: the worker refuses this",
        )


def agree(contract: Contract, expected: Contract, where: str) -> Iterator[Finding]:
    """The manifest's contract against the plan's."""
    got, wanted = contract.model_dump(mode="json"), expected.model_dump(mode="json")
    for key in wanted:
        if key != "spec" and got[key] != wanted[key]:
            yield Finding(
                f"{where} {WORK} {key}",
                shown(got[key]),
                f"{shown(wanted[key])}, as planned",
                "make the manifest anew from this plan",
            )
    for key in sorted({*got["spec"], *wanted["spec"]}):
        mine, planned = got["spec"].get(key), wanted["spec"].get(key)
        if mine != planned and key not in NOT_PLANNED:
            yield Finding(
                f"{where} {WORK} spec.{key}",
                shown(mine),
                f"{shown(planned)}, as planned",
                "make the manifest anew from this plan",
            )


def pinned(image: str | None, where: str) -> Iterator[Finding]:
    """An image is named by its content: a tag may mean another tomorrow, or on another node."""
    if image == NO_IMAGE or (image or "").split("@")[0].startswith("registry.invalid/"):
        yield Finding(
            where, "no real image", "the image that holds isocost", "give --image NAME@sha256:..."
        )
    elif image is None or not DIGEST.match(image):
        yield Finding(
            where,
            shown(image),
            "an image with its digest, name@sha256: and 64 hexadecimal digits",
            "a tag may mean another image tomorrow: write the digest that the registry shows",
        )


def commanded(command: list[str] | None, args: list[str] | None, where: str) -> Iterator[Finding]:
    """Every worker starts the one program that makes TF_CONFIG, and nothing else."""
    given = [*(command or []), *(args or [])]
    if tuple(given) != BOOTSTRAP:
        yield Finding(
            where,
            shown(given or None),
            f"{shown(list(BOOTSTRAP))}, which makes TF_CONFIG and starts the worker",
            "write it so",
        )


def environment(pairs: Iterable[tuple[str, str | None]], where: str) -> Iterator[Finding]:
    """Each variable once, TF_CONFIG none of them, and no secret by name or by content."""
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            yield Finding(
                f"{where} {name}",
                "the variable twice",
                "each once",
                "remove one: the last would win",
            )
        seen.add(name)
        if not name.replace("_", "a").replace("-", "a").replace(".", "a").isalnum() or (
            name[:1].isdigit()
        ):
            yield Finding(
                where, f"a variable named {shown(name)}", "letters, digits and _", "rename it"
            )
        if name == "TF_CONFIG":
            yield Finding(
                f"{where} TF_CONFIG",
                "one value for all workers",
                "none: each worker makes its own from its rank and ISOCOST_HOSTS",
                "remove it",
            )
        yield from secrets(name, value, where)


def secrets(name: str, value: str | None, where: str) -> Iterator[Finding]:
    """A secret that is written out; one that is referred to is no matter of ours."""
    remedy = "keep it in a Secret (valueFrom.secretKeyRef), or give the workers an identity"
    if not value:
        return
    kind = secret_in(value)
    if kind is not None:
        yield Finding(f"{where} {name}", kind, "no secret in the manifest", remedy)
    elif secret_name(name) and not value.startswith(("/", "./")):
        yield Finding(
            f"{where} {name}", "a value under a secret's name", "no secret in the manifest", remedy
        )


def in_texts(texts: Mapping[str, str], where: str) -> Iterator[Finding]:
    """Secrets in labels, annotations or files, by their content."""
    for name, text in texts.items():
        kind = secret_in(text)
        if kind is not None:
            yield Finding(
                f"{where} {name}", kind, "no secret in the manifest", "take it out of the file"
            )
