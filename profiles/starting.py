"""A workload file to begin with: from a Keras script that is looked at, or from a few answers."""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..catalog.files import InputError
from .capture import Captured, CaptureSpec, source
from .gang import Gang, last_words, refused
from .workload import BUILT_IN, Workload

DOUBLINGS = 2  # of the script's batch that are offered to choose from
TRUSTED = 8  # times the script's batch: the largest global one until somebody validates more


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person adds to what a script says; None where nothing was said."""

    name: str | None = None
    deadline: str | None = None
    budget_usd: float | None = None
    location: str | None = None


def look_at(
    script: Path,
    arguments: Sequence[str] = (),
    *,
    fit: int = 1,
    try_step: bool = True,
    patience_s: float = 300.0,
) -> Captured:
    """What the script would train, found in a process of its own.

    Raises InputError where it does not come to its fit in patience_s, or isocost cannot train what it
    would.
    """
    script = script.resolve()
    source(script)
    with tempfile.TemporaryDirectory(prefix="isocost-init-", ignore_cleanup_errors=True) as room:
        spec, result, log = (Path(room) / name for name in ("spec.json", "result.json", "log"))
        CaptureSpec(
            script=str(script),
            arguments=tuple(arguments),
            fit=fit,
            try_step=try_step,
            stuck_s=patience_s,
        ).write(spec)
        command = ["-m", "isocost.profiles.capture", str(spec), str(result)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONDONTWRITEBYTECODE": "1"}
        with Gang([command], [environment], [log]) as gang:
            in_time = gang.wait(patience_s)
        refused(result)
        if not in_time or (not result.exists() and "Timeout (" in _text(log)):
            raise InputError(
                f"{script.name} did not come to its fit and one step in {patience_s:g} s; give more time "
                "with --patience, or arguments for less data after --"
            )
        if not result.exists():
            raise InputError(f"{script.name} cannot be run: {last_words(log)}")
        return Captured.read(result)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def module_name(script: Path) -> str:
    """The module beside the workload that makes the script's model.

    >>> module_name(Path("jobs/my-train.v2.py")), module_name(Path("2d.py"))
    ('my_train_v2_isocost', '_2d_isocost')
    """
    plain = re.sub(r"\W", "_", script.stem, flags=re.ASCII)
    return f"{'_' if plain[:1].isdigit() else ''}{plain}_isocost"


def adapter_text(script: Path, arguments: Sequence[str], fit: int, beside: Path) -> str:
    """The module that runs the script up to its fit; beside: the folder it will lie in."""
    script, beside = script.resolve(), beside.resolve()
    if script.is_relative_to(beside):
        place = f"Path(__file__).parent / {json.dumps(script.relative_to(beside).as_posix())}"
    else:
        place = f"Path({json.dumps(str(script))})"
    return (
        f'"""The model and data of {_plain(script.name)} for isocost: the script itself, run up to model.fit."""\n\n'
        "from pathlib import Path\n\n"
        "from isocost.profiles.capture import captured\n\n"
        f"SCRIPT = {place}\n"
        f"ARGUMENTS: list[str] = {json.dumps(list(arguments))}  # as on its command line\n"
        f"FIT = {fit}  # which call of fit\n\n\n"
        "def make():\n"
        '    """(compiled model, training data), and validation data where the script has them."""\n'
        "    return captured(SCRIPT, ARGUMENTS, fit=FIT)\n"
    )


def text_of_script(
    found: Captured, script: Path, wishes: Wishes, *, schema: str | None, next_step: str
) -> str:
    """The workload file of what a script would train, with a comment on every line."""
    batches = [found.batch << k for k in range(DOUBLINGS + 1)]
    batches = [batch for batch in batches if batch <= found.samples] or [
        min(found.batch, found.samples)
    ]
    most = max(batches[-1], min(TRUSTED * found.batch, found.samples))
    parameters = "" if found.facts is None else f", {found.facts.parameters:,} parameters"
    sure = "an epoch of it" if found.sure else "counted so far: correct this"
    described = f"{found.kind} '{found.model}'{parameters}, {found.optimizer}, {found.loss}"
    return _text_of(
        [
            f"What {script.name} trains, found by running it up to model.fit.",
            *(f"Note: {note}." for note in found.notes),
        ],
        name=wishes.name or script.stem,
        model=(f"{module_name(script)}:make", described),
        samples=(found.samples, f"{found.data} of {found.shapes}; {sure}"),
        epochs=(found.epochs, "what the script asks fit for"),
        reference=(batches[0], "the script's batch, for which these epochs are enough"),
        batches=batches,
        most=most,
        precision=found.precision,
        data_bytes=found.samples * found.sample_bytes,
        facts=found,
        wishes=wishes,
        schema=schema,
        next_step=next_step,
    )


def text_of_answers(
    *,
    model: str,
    samples: int,
    epochs: float,
    batch: int,
    wishes: Wishes,
    schema: str | None,
    next_step: str,
) -> str:
    """The workload file of what a person answered."""
    built_in = "built in" if model in BUILT_IN else "module:function beside this file"
    batches = [size for k in range(DOUBLINGS + 1) if (size := batch << k) <= samples] or [samples]
    return _text_of(
        ["A training job."],
        name=wishes.name or re.sub(r"\W+", "-", model.partition(":")[0]),
        model=(model, f"{built_in}; built in are {', '.join(BUILT_IN)}"),
        samples=(samples, "how many the data hold"),
        epochs=(epochs, "passes over them that reach the target"),
        reference=(
            batches[0],
            "samples a step, over all workers, for which these epochs are enough",
        ),
        batches=batches,
        most=max(batches[-1], min(TRUSTED * batch, samples)),
        precision="float32",
        data_bytes=None,
        facts=None,
        wishes=wishes,
        schema=schema,
        next_step=next_step,
    )


def _text_of(
    head: Sequence[str],
    *,
    name: str,
    model: tuple[str, str],
    samples: tuple[int, str],
    epochs: tuple[float, str],
    reference: tuple[int, str],
    batches: Sequence[int],
    most: int,
    precision: str,
    data_bytes: float | None,
    facts: Captured | None,
    wishes: Wishes,
    schema: str | None,
    next_step: str,
) -> str:
    lines = [f"# yaml-language-server: $schema={schema}"] if schema else []
    lines += [f"# {_plain(words)}" for words in head]
    lines += [f"# Every key: docs/workloads.md. Next: {_plain(next_step)}"]
    said: list[tuple[str, str]] = [
        ("schema: isocost/workload/v1", ""),
        (f"name: {_quoted(name)}", ""),
        (f"model: {_quoted(model[0])}", model[1]),
        (f"samples_per_epoch: {samples[0]}", samples[1]),
        (f"epochs: {epochs[0]:g}", epochs[1]),
        (f"reference_batch: {reference[0]}", reference[1]),
        (
            f"per_device_batch: [{', '.join(map(str, batches))}]",
            "batches on one device to choose from",
        ),
        (f"max_global_batch: {most}", "the largest over all workers that you trust to converge"),
        ("# critical_batch: 4000", "where twice the samples are needed, if you know it"),
        (
            f"precisions: [{precision}]",
            "also mixed_bfloat16, mixed_float16 if the model bears them",
        ),
    ]
    if data_bytes or wishes.location:
        said.append(("data:", ""))
        if data_bytes:
            said.append((f"  bytes: {data_bytes:.0f}", "as the model sees them; moved once"))
    location = wishes.location or "aws:us-east-1"
    mark = "  " if wishes.location else "  # " if data_bytes else "# data: "
    place = (
        f"{{location: {_quoted(location)}}}"
        if mark == "# data: "
        else f"location: {_quoted(location)}"
    )
    said.append((f"{mark}{place}", "where they lie: moving them is priced"))
    wanted = wishes.deadline is not None or wishes.budget_usd is not None
    said.append(("constraints:" if wanted else "# constraints:", ""))
    deadline, budget = wishes.deadline or "6h", wishes.budget_usd
    said += [
        (f"{'  ' if wishes.deadline else '#   '}deadline_s: {deadline}", "90s, 45m, 6h, 1d12h"),
        (
            f"{'  ' if budget is not None else '#   '}budget_usd: {40 if budget is None else f'{budget:g}'}",
            "mean cost at most",
        ),
        ("#   providers: [aws, gcp]", "only these; also regions, accelerators, spot: false"),
        ("weights: {alpha: 0.4, beta: 0.4, gamma: 0.2}", "performance, cost, flexibility"),
    ]
    if facts is not None and facts.facts is not None:
        said.append(("facts:", "of one training step, counted; planning works before any profile"))
        for key, value in facts.facts.model_dump().items():
            said.append((f"  {key}: {value:.0f}", ""))
    width = min(44, max(len(line) for line, _ in said) + 2)
    lines += [f"{line:<{width}}# {_plain(words)}" if words else line for line, words in said]
    text = "\n".join(lines) + "\n"
    return text


def check_text(text: str, origin: str) -> Workload:
    """The workload that a text is; InputError where it would be refused later."""
    import yaml

    return Workload.parse(yaml.safe_load(text), origin)


def _quoted(text: str) -> str:
    """Text as YAML reads it back, whatever it holds."""
    import yaml

    if re.fullmatch(r"[A-Za-z][\w.-]{3,}(:[A-Za-z_]\w*)?", text, re.ASCII) and (
        text.lower() not in ("true", "false", "null")
    ):
        return text
    return yaml.safe_dump(text, default_style='"', width=10**6).strip()


def _plain(text: str) -> str:
    """Text as part of a comment or docstring: one line of what can be printed."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(shown.replace('"', "'").replace("\\", "/").split())[:160]


def relative(path: Path) -> str:
    """The path as a person would type it here."""
    return os.path.relpath(path)
