"""What the commands on traces have in common: their options, read and checked, and a replay with progress."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..simulator.adaptive import AdaptiveJob
    from ..simulator.changes import WhatIf
    from ..simulator.cluster import Cluster
    from ..simulator.fleet import Outside
    from ..simulator.replay import Done, Listen, Policy, Replay
    from ..simulator.rounds import Rules, SharePolicy
    from ..simulator.speeds import Speeds, Task
    from ..simulator.trace import Job

POLICIES = (
    "fifo, fifo-skip, sjf, sjf-skip, srtf, las, las-queues, isocost; in rounds isolated, fifo-perf, "
    "max-min-fairness, max-min-fairness-perf, finish-time-fairness, makespan, max-throughput, "
    "min-cost, min-cost-slo, min-total-duration, allox, shockwave, and Gavel's names for these; for "
    "adaptive jobs tiresias, optimus, pollux"
)


@dataclass(frozen=True)
class TraceOptions:
    """Options of every command that replays a trace."""

    trace: Annotated[
        Path,
        typer.Argument(
            help="Trace: CSV (or .csv.gz) with job_id, submit_time_s, num_gpus, duration_s and "
            "optionally job_type, total_steps, priority, deadline_s."
        ),
    ]
    cluster: Annotated[
        str,
        typer.Option(
            help="Cluster file (YAML), or words: gpu=400, v100=24@0.74,k80=24@0.135 (USD per "
            "GPU-hour), or t4=16x4 (nodes of 4)."
        ),
    ]
    throughputs: Annotated[
        Path | None,
        typer.Option(
            help="CSV with worker_type, job_type, scale_factor, steps_per_s; without it every "
            "accelerator runs a job in its duration_s. For adaptive jobs job_type, placement, nodes, "
            "gpus, local_batch, step_time_s, sync_time_s."
        ),
    ] = None
    table: Annotated[
        str | None, typer.Option(help="Which table of the throughput file; else its first.")
    ] = None
    round_s: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            help="Length of a round, for policies that work in rounds; else the cluster's, or 360.",
        ),
    ] = None
    gpu_seconds: Annotated[
        str | None,
        typer.Option(
            help="Columns of the trace with measured GPU-seconds: their mean over num_gpus is a "
            "job's run time instead of duration_s."
        ),
    ] = None
    curves: Annotated[
        Path | None,
        typer.Option(
            help="For adaptive jobs: CSV of training curves with app, batch_size, epoch, progress, "
            "iteration, grad_sqr, grad_var."
        ),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            help="For adaptive jobs: only lines of the trace with these values, as "
            "workload=1,job_load=1.0."
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of failures, spot losses and whatever else the cluster file leaves to chance, and "
            "of the order of accelerators where a policy shuffles it.",
        ),
    ] = 0
    lp: Annotated[
        str, typer.Option(help="Who solves the linear programs: interior, or highs by PuLP.")
    ] = "interior"

    def read(
        self, names: Sequence[str]
    ) -> "tuple[Sequence[str | Policy | SharePolicy], Given | Adaptive]":
        """The policies, and what they are to replay. Adaptive ones are known by their names."""
        from ..catalog.files import InputError
        from ..simulator.policies import policy_named
        from ..simulator.policies.adaptive import ADAPTIVE

        if self.round_s is not None and not math.isfinite(self.round_s):
            raise InputError(f"--round-s is {self.round_s}; expected a number of seconds")
        plain = [name.strip().lower().replace("_", "-") for name in names]
        if not any(name in ADAPTIVE for name in plain):
            if self.curves is not None or self.where is not None:
                raise InputError(
                    f"--curves and --where are for adaptive jobs, under {', '.join(ADAPTIVE)}; the "
                    f"policy is {', '.join(names)}"
                )
            return [policy_named(name, self.lp) for name in names], Given.read(self)
        for name in plain:
            if name not in ADAPTIVE:
                raise InputError(
                    f"policy '{name}' is not for adaptive jobs; those beside it are: "
                    f"{', '.join(ADAPTIVE)}"
                )
        return plain, Adaptive.read(self, plain[0])


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
class Given:
    """What was given on the command line, read and checked."""

    origin: str
    cluster: "Cluster"
    speeds: "Speeds"
    jobs: "list[Job]"
    tasks: "list[Task]"
    rules: "Rules"
    outside: "Outside"

    @classmethod
    def read(cls, options: TraceOptions) -> "Given":
        from ..catalog.files import InputError
        from ..simulator.cluster import read_cluster, read_spot_market
        from ..simulator.fleet import Outside
        from ..simulator.rounds import RECOMPUTE_S, ROUND_S, Rules
        from ..simulator.speeds import Durations, read_throughputs, tasks
        from ..simulator.trace import cut_off, measured, read_trace
        from .output import err

        if options.table is not None and options.throughputs is None:
            raise InputError("--table is about --throughputs; give its file too, or leave it out")
        there, origin = read_cluster(options.cluster), str(options.trace)
        speeds: Speeds = (
            Durations(there.crossing_slowdown)
            if options.throughputs is None
            else read_throughputs(options.throughputs, there, options.table)
        )
        jobs = read_trace(options.trace)
        if cut_off(options.trace):
            words = f"{origin}: its last line has no end; if the file was cut off there, its last job is wrong"
            err.print(words, soft_wrap=True, markup=False)
        if options.gpu_seconds is not None:
            columns = [name.strip() for name in options.gpu_seconds.split(",")]
            jobs = measured(jobs, columns, origin)
        made = tasks(jobs, there, speeds, origin)
        recompute_s = RECOMPUTE_S if there.recompute_s is None else there.recompute_s
        rules = Rules(options.round_s or there.round_s or ROUND_S, recompute_s)
        market = read_spot_market(there, Path(options.cluster).parent)
        return cls(origin, there, speeds, jobs, made, rules, Outside(options.seed, market))

    def changed(self, what: "WhatIf") -> "Given":
        """The same in a scenario. Raises InputError."""
        from ..simulator.replay_whatif import Setting, changed
        from ..simulator.speeds import tasks

        new = changed(what, Setting(self.cluster, self.jobs, self.outside.outages))
        made = tasks(new.jobs, new.cluster, self.speeds, self.origin)
        outside = replace(self.outside, outages=new.outages)
        return replace(self, cluster=new.cluster, jobs=list(new.jobs), tasks=made, outside=outside)

    def of_seed(self, seed: int) -> "Given":
        return replace(self, outside=replace(self.outside, seed=seed))

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
                *(chosen, self.tasks, self.cluster, self.speeds),
                rules=self.rules,
                outside=self.outside,
                listen=listen,
                done=tell,
            )


@dataclass(frozen=True)
class Adaptive:
    """Adaptive jobs and their cluster, read and checked."""

    cluster: "Cluster"
    tasks: "list[AdaptiveJob]"
    interval_s: float
    restart_s: float

    @classmethod
    def read(cls, options: TraceOptions, policy: str) -> "Adaptive":
        from ..catalog.files import InputError
        from ..simulator.adaptive import INTERVAL_S, RESCALE_S, read_adaptive
        from ..simulator.applications import read_applications
        from ..simulator.cluster import read_cluster

        if options.throughputs is None or options.curves is None:
            missing = "--throughputs" if options.throughputs is None else "--curves"
            raise InputError(
                f"{missing} is missing: under {policy} a job's speed follows from where it stands and its "
                "batch; give measured step times (--throughputs) and training curves (--curves)"
            )
        for option, value in (("--table", options.table), ("--gpu-seconds", options.gpu_seconds)):
            if value is not None:
                raise InputError(f"{option} has no meaning for adaptive jobs; leave it out")
        where = options.where
        only = dict(part.partition("=")[::2] for part in where.split(",")) if where else {}
        if not all(name and value for name, value in only.items()):
            raise InputError(f"--where is '{where}'; expected column=value, with commas between")
        there = read_cluster(options.cluster)
        if there.varies:
            raise InputError(
                f"under {policy} machines that come and go, checkpoints, stragglers and budgets are not "
                f"modelled; leave these keys out of {options.cluster}, or choose another policy"
            )
        known = read_applications(options.throughputs, options.curves)
        restart_s = there.restart_s if "restart_s" in there.model_fields_set else RESCALE_S
        interval_s = options.round_s or there.round_s or INTERVAL_S
        return cls(there, read_adaptive(options.trace, known, only), interval_s, restart_s)

    def replay(
        self,
        policy: "str | Policy | SharePolicy",
        *,
        listen: "Listen | None" = None,
        done: "Done | None" = None,
    ) -> "Replay":
        """The replay, with a progress bar of finished jobs."""
        from ..simulator.policies.adaptive import replay_named

        name = str(policy)
        with _progress(name, len(self.tasks), done) as tell:
            return replay_named(
                *(name, self.tasks, self.cluster),
                interval_s=self.interval_s,
                restart_s=self.restart_s,
                listen=listen,
                done=tell,
            )
