"""Adaptive jobs: laws of goodput and placement on a made-up application, and the published results."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog.files import InputError
from isocost.simulator.adaptive import (
    RESCALE_S,
    AdaptiveJob,
    Nodes,
    State,
    Wish,
)
from isocost.simulator.adaptive import replay_adaptive as replay_on
from isocost.simulator.applications import Application, Curve, application, read_curves, split
from isocost.simulator.cluster import read_cluster
from isocost.simulator.policies.optimus import optimus
from isocost.simulator.policies.tiresias import Tiresias

from .conftest import ROOT

DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data"))
STEP_S, SYNC_S = 0.1, 0.02


def made_up(epochs: int = 3, noise: float = 1e9) -> Application:
    """1,000 reference steps an epoch at batch 32; with that much noise larger batches lose nothing."""
    ends = np.arange(1.0, epochs + 1)
    curves = {
        batch: Curve(
            1000.0 * ends,
            32_000.0 / batch * ends,
            np.ones(epochs),
            np.full(epochs, float(noise)),
        )
        for batch in (32, 64, 128, 256)
    }
    shapes = [(1,), (2,), (3,), (4,), (4, 4), (2, 4), (1, 4), (3, 4), (1, 1), (1, 2), (1, 3)]
    times = [
        (shape, local, STEP_S * local / 32 + SYNC_S * len(shape), SYNC_S * len(shape))
        for shape in shapes
        for local in (8, 32, 64, 256)
    ]
    return application("cnn", {"cnn": curves}, times)


def job(name: str, at: float = 0.0, gpus: int = 1, batch: int = 32) -> AdaptiveJob:
    return AdaptiveJob(name, at, APP, gpus, batch)


APP = made_up()


def replay_adaptive(
    trace: Sequence[AdaptiveJob], policy: Wish, *, nodes: int, gpus_per_node: int
) -> dict[str, float]:
    """Completion times by job."""
    done = replay_on(trace, policy, read_cluster(f"t4={nodes}x{gpus_per_node}"))
    return {one.task.job.job_id: one.jct_s for one in done.jobs}


def test_a_job_alone_takes_its_steps_its_start_and_waits_for_the_next_look() -> None:
    found = replay_adaptive([job("a", at=10)], Tiresias(), nodes=1, gpus_per_node=4)
    # Looked at after 60 s; 30 s of start; three epochs of 1,000 steps of 0.12 s.
    assert found["a"] == pytest.approx(60 - 10 + RESCALE_S + 3 * 1000 * (STEP_S + SYNC_S))


@given(st.sampled_from([32, 48, 64, 100, 128, 256]), st.floats(1, 1e6), st.integers(0, 2))
def test_a_larger_batch_is_worth_more_but_never_more_than_its_size(
    batch: int, noise: float, epoch: int
) -> None:
    gain = made_up(noise=noise).gain(batch, epoch)
    assert 1 - 1e-9 <= gain <= batch / 32 + 1e-9
    assert gain <= made_up(noise=noise * 2).gain(batch, epoch) + 1e-9


@given(st.integers(32, 256), st.integers(1, 8), st.integers(0, 1))
def test_a_batch_is_split_within_the_memory_and_keeps_its_size(
    batch: int, gpus: int, least: int
) -> None:
    local, extra = split(APP, batch, gpus, least)
    assert local <= APP.most_local
    assert extra >= least
    assert local * gpus * (extra + 1) <= APP.largest_batch
    assert local * gpus * (extra + 1) >= min(batch, APP.largest_batch - gpus * (extra + 1))


def test_a_ring_may_be_turned_and_an_unknown_one_is_interpolated_or_refused() -> None:
    assert APP.step_s((4, 2), 32) == APP.step_s((2, 4), 32)
    step, _ = APP.step_s((4,), 20)
    assert step == pytest.approx(STEP_S * 20 / 32 + SYNC_S)
    with pytest.raises(InputError, match="no step time near 1\\+1\\+1\\+1 GPUs"):
        APP.step_s((1, 1, 1, 1), 32)
    with pytest.raises(InputError, match="no training curves of 'cmn'; did you mean 'cnn'"):
        application("cmn", {"cnn": APP.curves}, [])


shapes = st.lists(
    st.tuples(st.integers(0, 900), st.integers(1, 4), st.sampled_from([32, 64, 128])),
    min_size=1,
    max_size=8,
)


@given(shapes, st.booleans())
@settings(deadline=None, max_examples=30)
def test_no_more_gpus_are_held_than_there_are_and_every_job_ends(
    jobs: list[tuple[float, int, int]], elastic: bool
) -> None:
    trace = [job(str(i), *shape) for i, shape in enumerate(jobs)]
    policy: Wish = optimus if elastic else Tiresias()

    def watched(now_s: float, present: Sequence[State], gpus: int) -> Mapping[State, int | Nodes]:
        held = [node for one in present for node in one.nodes]
        assert all(held.count(node) <= 4 for node in range(2))
        wishes = policy(now_s, present, gpus)
        counts = [wish for wish in wishes.values() if isinstance(wish, int)]
        assert len(counts) == len(wishes)
        assert sum(counts) <= gpus
        assert all(wishes[one] in (0, one.job.num_gpus) for one in present) or elastic
        return wishes

    found = replay_adaptive(trace, watched, nodes=2, gpus_per_node=4)
    assert set(found) == {one.job_id for one in trace}
    for one in trace:
        best = min(APP.step_s((g,), 8)[0] for g in (1, 2, 3, 4)) / (one.batch / 32)
        assert found[one.job_id] >= 3 * 1000 * best / 4


def test_tiresias_puts_behind_who_has_had_his_time() -> None:
    policy = Tiresias(limit_gpu_s=240.0)
    trace = [job("long", gpus=4), job("late", at=300, gpus=4)]
    order: list[tuple[float, str]] = []

    def watched(now_s: float, present: Sequence[State], gpus: int) -> Mapping[State, int | Nodes]:
        wishes = policy(now_s, present, gpus)
        order.extend((now_s, one.job.job_id) for one, wish in wishes.items() if wish)
        return wishes

    replay_adaptive(trace, watched, nodes=1, gpus_per_node=4)
    assert (60.0, "long") in order
    assert (300.0, "late") in order
    assert (300.0, "long") not in order


def test_optimus_gives_spare_gpus_where_they_save_most() -> None:
    short, long = State(job("short", batch=128)), State(job("long", batch=128))
    short.epoch = 2
    wishes = optimus(0.0, [short, long], 4)
    assert wishes[long] == 3
    assert wishes[short] == 1
    assert optimus(0.0, [short, long], 1) == {long: 0, short: 1}


def test_a_job_too_large_for_the_cluster_is_refused() -> None:
    with pytest.raises(InputError, match="'a' asks for 9 GPUs; the cluster has 8"):
        replay_adaptive([job("a", gpus=9)], Tiresias(), nodes=2, gpus_per_node=4)


def test_curves_are_read_by_epoch(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(
        "app,batch_size,epoch,progress,iteration,grad_sqr,grad_var\n"
        "cnn,32,2,20,20,1,2e16\ncnn,32,1,10,10,3,4\n"
    )
    curve = read_curves(path)["cnn"][32]
    assert curve.progress.tolist() == [10, 20]
    assert (curve.square.tolist(), curve.variance.tolist()) == ([3, 1], [4, 2e16])
    path.write_text("app,batch_size,epoch,progress,iteration,grad_sqr,grad_var\ncnn,32,1,x,1,1,1\n")
    with pytest.raises(InputError, match="line 2: progress is 'x'; expected a number"):
        read_curves(path)


@pytest.mark.long
@pytest.mark.skipif(
    not (DATA / "traces" / "pollux_workloads.csv.gz").exists(), reason=f"no data in {DATA}"
)
def test_published_completion_times_are_met(tmp_path: Path) -> None:
    output = tmp_path / "pollux.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "pollux.py"), "--workload", "4"]
    subprocess.run([*command, "-o", str(output)], check=True, capture_output=True)
    rows = {row["policy"]: row for row in json.loads(output.read_text())["rows"]}
    assert rows["tiresias"]["jobs_equal"] == 1.0
    assert abs(rows["optimus"]["error"]) <= 0.02
