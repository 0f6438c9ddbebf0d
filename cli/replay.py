"""isocost simulate trace.csv: a job trace replayed on a cluster; and policies side by side."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import EXIT_INTERRUPTED, complete
from .options import with_options_of
from .traces import POLICIES, Adaptive, Given, TraceOptions

if TYPE_CHECKING:
    from ..simulator.logs import JobsCsv, PartFile
    from ..simulator.metrics import Comparison, Figures
    from ..simulator.replay import Done, Listen, Policy, Replay
    from ..simulator.rounds import SharePolicy

LONG_TRACE_JOBS = 500
SEEDS_TO_COMPARE = 10
Replications = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Replay with so many seeds from --seed on, for means with intervals; 1, or 10 where "
        "something is compared and the cluster file leaves something to chance.",
    ),
]


@with_options_of(TraceOptions)
def replay(
    options: TraceOptions,
    policy: Annotated[
        str,
        typer.Option(help=f"Scheduling policy: {POLICIES}.", autocompletion=complete.policies),
    ] = "fifo",
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            help="Scenarios to set beside the replay: price*1.5,failures*2,nodes+4,'fail zone a at 2h'; "
            "'and' joins several changes into one.",
        ),
    ] = None,
    replications: Replications = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the figures (JSON).")
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            help="CSV, one line a finished job; a killed replay leaves its finished part as FILE.part, "
            "whole lines but perhaps the last. Without it, a trace of 500 jobs or more has a part in "
            "the current folder until it is done."
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(help="Event log: .json for Perfetto (Chrome trace format), else CSV."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page about it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Replay a job trace on a cluster under a scheduling policy.

    Example: isocost simulate trace.csv --cluster gpu=400 --policy sjf-skip --jobs jobs.csv

    Machines that fail, spot losses, checkpoints, autoscaling and budgets stand in the cluster file
    (examples/cloud.yaml): isocost simulate trace.csv --cluster cloud.yaml --what-if 'failures*2,nodes+1'

    Adaptive jobs (columns job_id, submit_time_s, num_gpus, job_type, batch_size): isocost simulate
    trace.csv --cluster t4=16x4@0.53 --policy pollux --throughputs step_times.csv --curves curves.csv
    """
    from ..simulator.logs import event_log
    from ..simulator.metrics import figures
    from ..simulator.usage import UsageMeter, both
    from .output import ended_like_ctrl_c, err, print_json
    from .replay_tables import show

    parts: list[PartFile] = []
    try:
        with ended_like_ctrl_c(), ExitStack() as stack:
            (chosen,), given = options.read([policy])
            scenarios = _scenarios(what_if or (), given, policy)
            seeds = _seeds(given, options.seed, replications, compares=bool(scenarios))
            meter = UsageMeter(given.cluster)
            tell: Listen = meter
            done: Done | None = None
            finished = _finished_jobs(jobs, options.trace, _name(chosen), given)
            if finished is not None:
                parts.append(stack.enter_context(finished))
                done = finished
            if events is not None:
                happened = event_log(events, given.cluster)
                parts.append(stack.enter_context(happened))
                tell = both(meter, happened)
            found = [given.replay(chosen, listen=tell, done=done)]
            found += [_of_seed(given, seed).replay(chosen) for seed in seeds[1:]]
            shown = figures(found[0], trace=str(options.trace), usage=meter.usage())
            shown = _compared(shown, chosen, found, scenarios, seeds)
    except KeyboardInterrupt:
        for part in parts:
            err.print(f"The finished part is in {part.part}", soft_wrap=True, markup=False)
        raise SystemExit(EXIT_INTERRUPTED) from None
    _written(shown, output, report)
    if as_json:
        print_json(shown)
    else:
        show(shown)


def _written(shown: "Figures | Comparison", output: Path | None, report: Path | None) -> None:
    if output is not None:
        shown.write(output)
    if report is not None:
        from ..catalog.files import write_whole
        from ..reports import render

        write_whole(report, render([shown]))


def _scenarios(
    texts: "list[str] | tuple[()]", given: Given | Adaptive, policy: str
) -> list[tuple[str, Given]]:
    """(words, what is replayed) of each, made before any is run: a mistake should cost no time."""
    from ..catalog.files import InputError
    from ..simulator.replay_whatif import parse

    if not texts:
        return []
    if isinstance(given, Adaptive):
        raise InputError(f"--what-if is not for adaptive jobs, under {policy}; leave it out")
    return [(what.words, given.changed(what)) for what in parse(texts)]


def _seeds(given: Given | Adaptive, first: int, asked: int | None, *, compares: bool) -> list[int]:
    from ..catalog.files import InputError

    chance = isinstance(given, Given) and given.cluster.random
    if asked is not None and asked > 1 and not chance:
        raise InputError(
            f"--replications is {asked}, but nothing in the cluster is left to chance: all would be the "
            "same; give it failures, spot losses or stragglers (examples/cloud.yaml), or leave it out"
        )
    count = asked or (SEEDS_TO_COMPARE if compares and chance else 1)
    return list(range(first, first + count))


def _of_seed(given: Given | Adaptive, seed: int) -> Given | Adaptive:
    return given.of_seed(seed) if isinstance(given, Given) else given


def _compared(
    shown: "Figures",
    chosen: "str | Policy | SharePolicy",
    found: "list[Replay]",
    scenarios: list[tuple[str, Given]],
    seeds: list[int],
) -> "Figures":
    """The figures with their spread over the seeds and the scenarios beside them."""
    from ..simulator.metrics import estimates, set_beside

    return shown.model_copy(
        update={
            "seed": seeds[0],
            "estimates": estimates(found) if len(found) > 1 else (),
            "what_if": tuple(
                set_beside(words, found, [there.of_seed(seed).replay(chosen) for seed in seeds])
                for words, there in scenarios
            ),
        }
    )


@with_options_of(TraceOptions)
def compare(
    options: TraceOptions,
    policies: Annotated[
        str, typer.Option(help="Policies, with commas; the first is the one to compare with.")
    ],
    replications: Replications = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the comparison (JSON).")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page about it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Set policies side by side on one trace, with differences paired job by job.

    Example: isocost simulate compare trace.csv --cluster gpu=400 --policies fifo,sjf,srtf
    """
    from ..catalog.files import InputError
    from ..simulator.metrics import compared
    from ..simulator.usage import UsageMeter
    from .output import ended_like_ctrl_c, print_json
    from .replay_tables import show_comparison

    try:
        with ended_like_ctrl_c():
            chosen, given = options.read(policies.split(","))
            if len({_name(one) for one in chosen}) < max(len(chosen), 2):
                raise InputError(
                    f"--policies is '{policies}'; expected two different ones or more, with commas "
                    "between"
                )
            seeds = _seeds(given, options.seed, replications, compares=True)
            meters = [UsageMeter(given.cluster) for _ in chosen]
            found = [
                given.replay(one, listen=meter) for one, meter in zip(chosen, meters, strict=True)
            ]
            more = [[_of_seed(given, seed).replay(one) for seed in seeds[1:]] for one in chosen]
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    usages = [meter.usage() for meter in meters]
    shown = compared(found, trace=str(options.trace), usages=usages, more=more)
    _written(shown, output, report)
    if as_json:
        print_json(shown)
    else:
        show_comparison(shown)


def _name(policy: "str | Policy | SharePolicy") -> str:
    return policy if isinstance(policy, str) else policy.name


def _finished_jobs(
    asked: Path | None, trace: Path, policy: str, given: Given | Adaptive
) -> "JobsCsv | None":
    """Where finished jobs go: to the file asked for; for a long trace, else, to a part that only a
    replay that ends too early leaves behind.
    """
    from ..catalog.files import InputError
    from ..simulator.logs import JobsCsv
    from .output import err

    if asked is not None:
        return JobsCsv(asked, given.cluster)
    if len(given.tasks) < LONG_TRACE_JOBS:
        return None
    # With the process' number: several replays of one trace may run in one folder.
    path = Path(f"{trace.name.partition('.csv')[0]}-{policy}-{os.getpid()}.jobs.csv")
    try:
        part = JobsCsv(path, given.cluster, kept=False)
    except InputError as error:
        words = f"A killed replay would leave nothing ({error}); give --jobs FILE"
        err.print(words, soft_wrap=True, markup=False)
        return None
    words = f"Until it is done, finished jobs are in {part.part}; --jobs FILE keeps them"
    err.print(words, soft_wrap=True, markup=False)
    return part
