"""isocost simulate trace.csv: a job trace replayed on a cluster; and policies side by side."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..simulator.adaptive import AdaptiveJob
    from ..simulator.cluster import Cluster
    from ..simulator.logs import JobsCsv, PartFile
    from ..simulator.metrics import Comparison, Figures
    from ..simulator.replay import Done, Listen, Policy, Replay
    from ..simulator.rounds import Rules, SharePolicy
    from ..simulator.speeds import Speeds, Task

Trace = Annotated[
    Path,
    typer.Argument(
        help="Trace: CSV (or .csv.gz) with job_id, submit_time_s, num_gpus, duration_s and "
        "optionally job_type, total_steps, priority, deadline_s."
    ),
]
ClusterFile = Annotated[
    str,
    typer.Option(
        "--cluster",
        help="Cluster file (YAML), or words: gpu=400, v100=24@0.74,k80=24@0.135 (USD per GPU-hour), or "
        "t4=16x4 (nodes of 4).",
    ),
]
ThroughputFile = Annotated[
    Path | None,
    typer.Option(
        "--throughputs",
        help="CSV with worker_type, job_type, scale_factor, steps_per_s; without it every "
        "accelerator runs a job in its duration_s. For adaptive jobs job_type, placement, nodes, gpus, "
        "local_batch, step_time_s, sync_time_s.",
    ),
]
TableName = Annotated[
    str | None,
    typer.Option("--table", help="Which table of the throughput file; else its first."),
]
RoundS = Annotated[
    float | None,
    typer.Option(
        min=1e-3,
        help="Length of a round, for policies that work in rounds; else the cluster's, or 360.",
    ),
]
GpuSeconds = Annotated[
    str | None,
    typer.Option(
        help="Columns of the trace with measured GPU-seconds: their mean over num_gpus is a job's "
        "run time instead of duration_s."
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Of the order of accelerators, where a policy shuffles it.")
]
LpSolver = Annotated[
    str, typer.Option("--lp", help="Who solves the linear programs: interior, or highs by PuLP.")
]
LONG_TRACE_JOBS = 500
Curves = Annotated[
    Path | None,
    typer.Option(
        help="For adaptive jobs: CSV of training curves with app, batch_size, epoch, progress, "
        "iteration, grad_sqr, grad_var."
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        help="For adaptive jobs: only lines of the trace with these values, as workload=1,job_load=1.0."
    ),
]
POLICIES = (
    "fifo, fifo-skip, sjf, sjf-skip, srtf, las, las-queues, isocost; in rounds isolated, fifo-perf, "
    "max-min-fairness, max-min-fairness-perf, finish-time-fairness, makespan, max-throughput, "
    "min-cost, min-cost-slo, min-total-duration, allox, shockwave, and Gavel's names for these; for "
    "adaptive jobs tiresias, optimus, pollux"
)


def replay(
    trace: Trace,
    cluster: ClusterFile,
    throughputs: ThroughputFile = None,
    policy: Annotated[str, typer.Option(help=f"Scheduling policy: {POLICIES}.")] = "fifo",
    table: TableName = None,
    round_s: RoundS = None,
    gpu_seconds: GpuSeconds = None,
    curves: Curves = None,
    where: Where = None,
    seed: Seed = 0,
    lp: LpSolver = "interior",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the figures (JSON).")
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            help="CSV, one line a finished job; a killed replay leaves it as FILE.part. Without it, a "
            "trace of 500 jobs or more has a part in the current folder until it is done."
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(help="Event log: .json for Perfetto (Chrome trace format), else CSV."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Replay a job trace on a cluster under a scheduling policy.

    Example: isocost simulate trace.csv --cluster gpu=400 --policy sjf-skip --jobs jobs.csv

    Adaptive jobs (columns job_id, submit_time_s, num_gpus, job_type, batch_size): isocost simulate
    trace.csv --cluster t4=16x4@0.53 --policy pollux --throughputs step_times.csv --curves curves.csv
    """
    from ..simulator.logs import event_log
    from ..simulator.metrics import figures
    from .output import ended_like_ctrl_c, err, print_json

    parts: list[PartFile] = []
    try:
        with ended_like_ctrl_c(), ExitStack() as stack:
            (chosen,), given = _read(
                *(trace, cluster, [policy], throughputs, table, round_s, gpu_seconds),
                *(curves, where, seed, lp),
            )
            tell: Listen | None = None
            done: Done | None = None
            finished = _finished_jobs(jobs, trace, _name(chosen), given)
            if finished is not None:
                parts.append(stack.enter_context(finished))
                done = finished
            if events is not None:
                happened = event_log(events, given.cluster)
                parts.append(stack.enter_context(happened))
                tell = happened
            found = given.replay(chosen, listen=tell, done=done)
    except KeyboardInterrupt:
        for part in parts:
            err.print(f"The finished part is in {part.part}", soft_wrap=True, markup=False)
        raise SystemExit(130) from None
    shown = figures(found, trace=str(trace))
    if output is not None:
        shown.write(output)
    if as_json:
        print_json(shown)
    else:
        _show(shown)


def compare(
    trace: Trace,
    cluster: ClusterFile,
    policies: Annotated[
        str, typer.Option(help="Policies, with commas; the first is the one to compare with.")
    ],
    throughputs: ThroughputFile = None,
    table: TableName = None,
    round_s: RoundS = None,
    gpu_seconds: GpuSeconds = None,
    curves: Curves = None,
    where: Where = None,
    seed: Seed = 0,
    lp: LpSolver = "interior",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the comparison (JSON).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Set policies side by side on one trace, with differences paired job by job.

    Example: isocost simulate compare trace.csv --cluster gpu=400 --policies fifo,sjf,srtf
    """
    from ..catalog.files import InputError
    from ..simulator.metrics import compared
    from .output import ended_like_ctrl_c, print_json

    names = policies.split(",")
    try:
        with ended_like_ctrl_c():
            chosen, given = _read(
                *(trace, cluster, names, throughputs, table, round_s, gpu_seconds),
                *(curves, where, seed, lp),
            )
            if len({_name(one) for one in chosen}) < max(len(chosen), 2):
                raise InputError(
                    f"--policies is '{policies}'; expected two different ones or more, with commas "
                    "between"
                )
            found = [given.replay(one) for one in chosen]
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    shown = compared(found, trace=str(trace))
    if output is not None:
        shown.write(output)
    if as_json:
        print_json(shown)
    else:
        _show_comparison(shown)


def _name(policy: "str | Policy | SharePolicy") -> str:
    return policy if isinstance(policy, str) else policy.name


def _finished_jobs(
    asked: Path | None, trace: Path, policy: str, given: "_Given | _Adaptive"
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


def _read(
    trace: Path,
    cluster: str,
    names: Sequence[str],
    throughputs: Path | None,
    table: str | None,
    round_s: float | None,
    gpu_seconds: str | None,
    curves: Path | None,
    where: str | None,
    seed: int,
    lp: str,
) -> "tuple[Sequence[str | Policy | SharePolicy], _Given | _Adaptive]":
    """The policies, and what they are to replay. Adaptive ones are known by their names."""
    from ..catalog.files import InputError
    from ..simulator.goodput import ADAPTIVE
    from ..simulator.policies import policy_named

    plain = [name.strip().lower().replace("_", "-") for name in names]
    if not any(name in ADAPTIVE for name in plain):
        if curves is not None or where is not None:
            raise InputError(
                f"--curves and --where are for adaptive jobs, under {', '.join(ADAPTIVE)}; the "
                f"policy is {', '.join(names)}"
            )
        chosen = [policy_named(name, lp) for name in names]
        return chosen, _Given.read(trace, cluster, throughputs, table, round_s, seed, gpu_seconds)
    for name in plain:
        if name not in ADAPTIVE:
            raise InputError(
                f"policy '{name}' is not for adaptive jobs; those beside it are: "
                f"{', '.join(ADAPTIVE)}"
            )
    if throughputs is None or curves is None:
        missing = "--throughputs" if throughputs is None else "--curves"
        raise InputError(
            f"{missing} is missing: under {plain[0]} a job's speed follows from where it stands and its "
            "batch; give measured step times (--throughputs) and training curves (--curves)"
        )
    for option, value in (("--table", table), ("--gpu-seconds", gpu_seconds)):
        if value is not None:
            raise InputError(f"{option} has no meaning for adaptive jobs; leave it out")
    return plain, _Adaptive.read(trace, cluster, throughputs, curves, round_s, where)


@dataclass(frozen=True)
class _Adaptive:
    """Adaptive jobs and their cluster, read and checked."""

    cluster: "Cluster"
    tasks: "list[AdaptiveJob]"
    interval_s: float
    restart_s: float

    @classmethod
    def read(
        cls,
        trace: Path,
        cluster: str,
        throughputs: Path,
        curves: Path,
        round_s: float | None,
        where: str | None,
    ) -> "_Adaptive":
        from ..catalog.files import InputError
        from ..simulator.adaptive import INTERVAL_S, RESCALE_S, read_adaptive
        from ..simulator.applications import read_applications
        from ..simulator.cluster import read_cluster

        only = dict(part.partition("=")[::2] for part in where.split(",")) if where else {}
        if not all(name and value for name, value in only.items()):
            raise InputError(f"--where is '{where}'; expected column=value, with commas between")
        there = read_cluster(cluster)
        known = read_applications(throughputs, curves)
        restart_s = there.restart_s if "restart_s" in there.model_fields_set else RESCALE_S
        interval_s = round_s or there.round_s or INTERVAL_S
        return cls(there, read_adaptive(trace, known, only), interval_s, restart_s)

    def replay(
        self,
        policy: "str | Policy | SharePolicy",
        *,
        listen: "Listen | None" = None,
        done: "Done | None" = None,
    ) -> "Replay":
        """The replay, with a progress bar of finished jobs."""
        from ..simulator.goodput import replay_named

        name = str(policy)
        with _progress(name, len(self.tasks), done) as tell:
            return replay_named(
                name,
                self.tasks,
                self.cluster,
                interval_s=self.interval_s,
                restart_s=self.restart_s,
                listen=listen,
                done=tell,
            )


@contextmanager
def _progress(name: str, total: int, done: "Done | None") -> "Iterator[Done | None]":
    """What is to be told of every finished job: ``done``, with a progress bar on terminals."""
    from ..simulator.replay import Finished
    from .output import only_ours_on_stdout, progress_bar

    with only_ours_on_stdout(), progress_bar() as bar:
        task = bar.add_task(name, total=total, note="jobs")
        tell: Callable[[Finished], None] | None = done
        if not bar.disable:
            count = 0

            def tell(one: Finished) -> None:
                nonlocal count
                count += 1
                if count % 64 == 0 or count == total:
                    bar.update(task, completed=count)
                if done is not None:
                    done(one)

        yield tell


@dataclass(frozen=True)
class _Given:
    """What was given on the command line, read and checked."""

    cluster: "Cluster"
    speeds: "Speeds"
    tasks: "list[Task]"
    rules: "Rules"
    seed: int

    @classmethod
    def read(
        cls,
        trace: Path,
        cluster: str,
        throughputs: Path | None,
        table: str | None,
        round_s: float | None,
        seed: int,
        gpu_seconds: str | None,
    ) -> "_Given":
        from ..simulator.cluster import read_cluster
        from ..simulator.rounds import RECOMPUTE_S, ROUND_S, Rules
        from ..simulator.speeds import Durations, read_throughputs, tasks
        from ..simulator.trace import measured, read_trace

        there = read_cluster(cluster)
        speeds: Speeds = (
            Durations(there.crossing_slowdown)
            if throughputs is None
            else read_throughputs(throughputs, there, table)
        )
        jobs = read_trace(trace)
        if gpu_seconds is not None:
            jobs = measured(jobs, [name.strip() for name in gpu_seconds.split(",")], str(trace))
        made = tasks(jobs, there, speeds, str(trace))
        recompute_s = RECOMPUTE_S if there.recompute_s is None else there.recompute_s
        rules = Rules(round_s or there.round_s or ROUND_S, recompute_s)
        return cls(there, speeds, made, rules, seed)

    def replay(
        self,
        policy: "str | Policy | SharePolicy",
        *,
        listen: "Listen | None" = None,
        done: "Done | None" = None,
    ) -> "Replay":
        """The replay, with a progress bar of finished jobs."""
        from ..simulator.policies import policy_named, replay_under

        chosen = policy_named(policy) if isinstance(policy, str) else policy
        with _progress(chosen.name, len(self.tasks), done) as tell:
            return replay_under(
                chosen,
                self.tasks,
                self.cluster,
                self.speeds,
                rules=self.rules,
                seed=self.seed,
                listen=listen,
                done=tell,
            )


def _show(found: "Figures") -> None:
    from ..reports.words import duration, usd
    from .output import figures, out

    table = figures(f"{found.jobs:,} jobs under {found.policy}", "", "")
    for words, value in (
        ("average job completion time", duration(found.avg_jct_s)),
        ("median", duration(found.median_jct_s)),
        ("99 of 100 jobs within", duration(found.p99_jct_s)),
        ("average wait for the first start", duration(found.avg_wait_s)),
        ("makespan", duration(found.makespan_s)),
        ("GPU-hours used", f"{found.gpu_hours:,.1f}"),
        ("utilization", f"{found.utilization:.1%}"),
        ("cost of what was used", usd(found.total_cost_usd)),
        ("cost of the whole cluster", usd(found.reserved_cost_usd)),
        ("mean slowdown against running alone", f"{found.mean_slowdown:.2f}"),
        ("preemptions", f"{found.preemptions:,}"),
    ):
        table.add_row(words, value)
    if found.deadline_misses is not None:
        table.add_row("deadlines missed", f"{found.deadline_misses:,}")
    out.print(table)


def _show_comparison(found: "Comparison") -> None:
    from ..reports.words import duration, usd
    from .output import figures, out

    base = found.policies[0].policy
    table = figures(
        f"{found.policies[0].jobs:,} jobs",
        "policy",
        "avg JCT",
        "p99 JCT",
        "makespan",
        "cost",
        "use",
    )
    for one in found.policies:
        table.add_row(
            *(one.policy, duration(one.avg_jct_s), duration(one.p99_jct_s)),
            *(duration(one.makespan_s), usd(one.total_cost_usd), f"{one.utilization:.0%}"),
        )
    out.print(table)
    paired = figures(
        f"JCT less that under {base}, job by job, with 95 % intervals",
        *("policy", "mean", "between", "sooner", "later"),
    )
    for pair in found.differences:
        between = "" if pair.mean_ci95 is None else " to ".join(map(_signed, pair.mean_ci95))
        shares = (f"{pair.sooner:.0%}", f"{pair.later:.0%}")
        paired.add_row(pair.policy, _signed(pair.mean_s), between, *shares)
    out.print(paired)


def _signed(seconds: float) -> str:
    from ..reports.words import duration

    return ("-" if seconds < 0 else "") + duration(abs(seconds))
