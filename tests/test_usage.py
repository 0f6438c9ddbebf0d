"""How busy a cluster was: the meter's means add up to what the jobs held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost.simulator.cluster import read_cluster
from isocost.simulator.metrics import Comparison, figures
from isocost.simulator.policies import policy_named, replay_under
from isocost.simulator.speeds import Durations, tasks
from isocost.simulator.trace import Job
from isocost.simulator.usage import UsageMeter

CLUSTER = read_cluster("a=3,b=2")

made = st.lists(
    st.tuples(st.floats(0, 500), st.integers(1, 3), st.floats(1, 300)), min_size=1, max_size=25
)


@given(made, st.sampled_from(["fifo-skip", "srtf", "las", "max-min-fairness"]), st.integers(1, 40))
def test_use_over_time_adds_up_to_the_gpu_seconds_held(
    rows: list[tuple[float, int, float]], policy: str, stretches: int
) -> None:
    jobs = [
        Job(f"{k}", at_s, min(gpus, 2), length_s, line=k)
        for k, (at_s, gpus, length_s) in enumerate(sorted(rows))
    ]
    speeds = Durations(1.0)
    meter = UsageMeter(CLUSTER)
    done = replay_under(
        policy_named(policy), tasks(jobs, CLUSTER, speeds, "t.csv"), CLUSTER, speeds, listen=meter
    )
    usage = meter.usage(stretches)
    assert usage is not None
    held = np.array([one.gpu_s for one in done.jobs]).sum(axis=0)
    for name, gpus, gpu_s in zip(CLUSTER.accelerators, CLUSTER.gpus, held, strict=True):
        shares = usage.shares[name]
        assert len(shares) == stretches
        assert all(0 <= share <= 1 for share in shares)
        assert sum(shares) * usage.stretch_s * gpus == pytest.approx(gpu_s, rel=1e-6, abs=1e-3)
    in_system = np.array([one.jct_s - one.run_s for one in done.jobs]).sum()
    assert sum(usage.waiting) * usage.stretch_s == pytest.approx(in_system, rel=1e-6, abs=1e-3)


def test_no_event_is_no_use() -> None:
    assert UsageMeter(CLUSTER).usage() is None


def test_the_figures_keep_the_completion_times_of_jobs(comparison: Comparison) -> None:
    for one in comparison.policies:
        assert len(one.jct_quantiles_s) == len(one.wait_quantiles_s) == 101
        assert one.jct_quantiles_s[50] == pytest.approx(one.median_jct_s)
        assert one.jct_quantiles_s[99] == pytest.approx(one.p99_jct_s)
        assert list(one.jct_quantiles_s) == sorted(one.jct_quantiles_s)
        assert one.usage is not None
        assert np.mean(one.usage.shares["v100"]) == pytest.approx(one.utilization, rel=1e-6)


def test_figures_without_a_listener_have_no_use() -> None:
    speeds = Durations(1.0)
    jobs = tasks([Job("1", 0.0, 1, 10.0, line=1)], CLUSTER, speeds, "t.csv")
    assert figures(replay_under(policy_named("fifo"), jobs, CLUSTER, speeds)).usage is None
