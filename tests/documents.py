"""Documents of every kind for the tests of pages."""

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from isocost.catalog import Catalog, Offer, load, this_machine
from isocost.catalog.files import Document
from isocost.execution import record
from isocost.execution.record import (
    LossPoint,
    PredictedFigures,
    Restart,
    Run,
    RunFigures,
    StepTimePoint,
)
from isocost.optimizer.optimize import Job, optimize
from isocost.optimizer.plan import Plan, PlannedJob
from isocost.profiles.records import Breakdown, Profile
from isocost.profiles.workload import Workload
from isocost.simulator import Simulation, rehearse
from isocost.simulator.cluster import read_cluster
from isocost.simulator.metrics import Comparison, compared
from isocost.simulator.policies import policy_named, replay_under
from isocost.simulator.speeds import Durations, tasks
from isocost.simulator.trace import Job as TraceJob
from isocost.simulator.usage import UsageMeter

EVIL = """<script>window.ran=1</script><img src=x onerror="window.ran=2">'"&\u202e\u2067\u05d0 🚂{{7*7}}</script>"""


@pytest.fixture(scope="session")
def plan(workload: Workload, profile: Profile, catalog: Catalog, local: Offer) -> Plan:
    return optimize([Job(workload, Path("."), profile)], catalog, local, version="1.2.3")


@pytest.fixture(scope="session")
def job(plan: Plan) -> PlannedJob:
    return plan.jobs[0]


@pytest.fixture(scope="session")
def simulation(plan: Plan) -> Simulation:
    return rehearse(plan, replications=100, plan_path="plan.json")


@pytest.fixture(scope="session")
def run(plan: Plan, profile: Profile) -> Run:
    return recorded_run(plan, profile)


def recorded_run(plan: Plan, profile: Profile) -> Run:
    """A run of 1,000 steps that was killed once and took a fifth longer than predicted."""
    return Run(
        job=plan.jobs[0].name,
        plan="plan.json",
        folder="runs/1",
        created=datetime(2026, 11, 24, tzinfo=UTC),
        engine="local",
        status="finished",
        workers=1,
        per_device_batch=32,
        global_batch=32,
        knobs=plan.jobs[0].chosen.knobs,
        data="digits",
        seed=0,
        planned_steps=1_000,
        steps=1_000,
        samples=32_000,
        restarts=1,
        recoveries=(Restart(at_s=5.5, from_step=400, lost_steps=12, reason="worker 0 was killed"),),
        predicted=PredictedFigures(
            samples_per_s=5_000,
            samples_per_s_p05=4_000,
            samples_per_s_p95=6_400,
            time_s=10.0,
            cost_usd=0.00005,
            basis="measured",
        ),
        measured=RunFigures(samples_per_s=4_750, time_s=12.0, cost_usd=0.00006),
        differences=(
            record.Difference(what="slower steps", seconds=0.3),
            record.Difference(what="work done again", seconds=0.1),
            record.Difference(what="starts and waiting", seconds=1.6),
        ),
        breakdown=Breakdown(input_s=0.0004, communication_s=0.0001, compute_s=0.0062),
        repeat_noise=0.1,
        test=record.TestFigures(loss=0.2, accuracy=0.971),
        losses=tuple(
            LossPoint(step=step, loss=2.3 * math.exp(-step / 300)) for step in range(1, 101)
        ),
        step_times=tuple(
            StepTimePoint(step=50 * k, at_s=0.6 * k, step_s=0.0064 + 1e-4 * (k % 3))
            for k in range(1, 21)
        ),
        checkpoints=2,
        host=profile.host,
    )


@pytest.fixture(scope="session")
def documents(
    plan: Plan, simulation: Simulation, run: Run, profile: Profile
) -> dict[str, Document]:
    return {"plan": plan, "simulation": simulation, "run": run, "profile": profile}


RESNET = {
    "schema": "isocost/workload/v1",
    "name": "resnet-50",
    "model": "resnet50",
    "samples_per_epoch": 1_281_167,
    "epochs": 18,
    "reference_batch": 256,
    "per_device_batch": [32, 64, 128],
    "max_global_batch": 4096,
    "precisions": ["float32", "mixed_float16"],
    "data": {"bytes": 150e9, "location": "aws:us-east-1"},
    "constraints": {"deadline_s": "10h", "budget_usd": 150, "forbidden_providers": ["local"]},
    "weights": {"alpha": 0.4, "beta": 0.4, "gamma": 0.2},
}


@pytest.fixture(scope="session")
def explained() -> Plan:
    """A plan that rents, with everything that a plan can say."""
    workload = Workload.parse(RESNET, "resnet-50")
    return optimize(
        [Job(workload, Path("."))],
        load(),
        this_machine(0.02),
        explained=True,
        version="1.2.3",
        command="isocost optimize resnet.yaml --explain",
    )


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    """Two policies on sixty jobs."""
    cluster = read_cluster("v100=8@2.5")
    jobs = [
        TraceJob(f"job {k}", 40.0 * k, 1 + k % 4, 300.0 + 97 * (k % 11), line=k) for k in range(60)
    ]
    speeds = Durations(cluster.crossing_slowdown)
    meters = [UsageMeter(cluster) for _ in range(2)]
    found = [
        replay_under(
            policy_named(name),
            tasks(jobs, cluster, speeds, "trace.csv"),
            cluster,
            speeds,
            listen=meter,
        )
        for name, meter in zip(("fifo", "srtf"), meters, strict=True)
    ]
    return compared(found, trace="trace.csv", usages=[meter.usage() for meter in meters])


def renamed(plan: Plan, name: str) -> Plan:
    jobs = tuple(one.model_copy(update={"name": name}) for one in plan.jobs)
    return plan.model_copy(update={"jobs": jobs})
