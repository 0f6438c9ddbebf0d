"""Real runs: the same losses whatever the workers, stopping, resuming, surviving."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from isocost.catalog.files import InputError
from isocost.execution import checkpoints
from isocost.execution.run import execute, open_folder
from isocost.execution.setup import set_up
from isocost.execution.telemetry import StepLine, StepLog, last_step, read_steps
from isocost.optimizer.plan import Plan
from isocost.profiles.records import Profile

from .conftest import EXAMPLE, Command, command_line, environment

SHORT = (
    EXAMPLE.read_text(encoding="utf-8").replace("50000", "1600").replace("epochs: 10", "epochs: 8")
)
SHORT_AT_32 = SHORT.replace("[32, 64, 128]", "32").replace("critical_batch", "# critical_batch")


@pytest.fixture
def plan(tmp_path: Path, isocost: Command, profile: Profile) -> Path:
    """A plan of 400 steps of batch 32."""
    (tmp_path / "short.yaml").write_text(SHORT_AT_32, encoding="utf-8")
    profile.write(tmp_path / "profile.json")
    done = isocost("optimize", "short.yaml", "--profile", "profile.json", "-o", "plan.json")
    assert done.returncode == 0, done.stderr
    (tmp_path / "profile.json").unlink()
    return tmp_path / "plan.json"


def record(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def losses(path: Path) -> dict[int, float]:
    return {point["step"]: point["loss"] for point in record(path)["losses"]}  # type: ignore[attr-defined]


def orphans(folder: Path) -> list[psutil.Process]:
    """Processes whose command line names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in part for part in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return [process for process in found if process.pid != os.getpid()]


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one_at_the_same_global_batch(
    isocost: Command, tmp_path: Path
) -> None:
    """For a pass and more, at a tenth of the rate: at the whole of it rounding grows to percents."""
    slow = SHORT_AT_32.replace("reference_batch: 32", "reference_batch: 3200\nlearning_rate: sqrt")
    (tmp_path / "slow.yaml").write_text(slow, encoding="utf-8")
    planned = isocost("optimize", "slow.yaml")
    assert planned.returncode == 0, planned.stderr
    for workers in (1, 2):
        output = f"run{workers}.json"
        done = isocost(
            "run", "plan.json", "--workers", str(workers), "--max-steps", "60", "-o", output
        )
        assert done.returncode == 0, done.stderr
        assert "Test: loss" in done.stdout
        made = record(tmp_path / output)
        assert (made["workers"], made["steps"], made["status"]) == (workers, 60, "stopped")
        assert made["data"] in ("cifar10", "digits")
        assert made["measured"]["samples_per_s"] > 0  # type: ignore[index]
        assert made["predicted"]["samples_per_s"] > 0  # type: ignore[index]
        assert 0 <= made["test"]["accuracy"] <= 1  # type: ignore[index]
    one, two = losses(tmp_path / "run1.json"), losses(tmp_path / "run2.json")
    assert two == pytest.approx(one, rel=1e-5)
    assert one[60] < 0.9 * one[1]


@pytest.mark.slow
def test_ctrl_c_leaves_no_orphan_and_resuming_equals_an_undisturbed_run(
    plan: Path, isocost: Command, tmp_path: Path
) -> None:
    alike = ("run", plan, "--workers", "2", "--reproducible", "--max-steps", "80")
    whole = isocost(*alike, "-o", "whole.json")
    assert whole.returncode == 0, whole.stderr
    running = subprocess.Popen(
        command_line([*alike, "-o", "cut.json"]),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for_step(tmp_path / "cut" / "steps.jsonl", 20)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=90)
    assert running.returncode == 130, err
    assert "--resume" in out
    assert orphans(tmp_path / "cut") == []
    cut = record(tmp_path / "cut.json")
    assert cut["status"] == "interrupted"
    assert 20 <= cut["steps"] < 80  # type: ignore[operator]
    saved = checkpoints.latest(tmp_path / "cut" / "checkpoints")
    assert saved is not None
    assert saved.step == cut["steps"]
    refused = isocost("run", plan, "-o", "cut.json")
    assert (refused.returncode, "--resume" in refused.stderr) == (2, True)
    resumed = isocost(*alike, "--resume", "cut", "-o", "resumed.json")
    assert resumed.returncode == 0, resumed.stderr
    made = record(tmp_path / "resumed.json")
    assert (made["steps"], made["status"]) == (80, "stopped")
    lines = read_steps(tmp_path / "cut" / "steps.jsonl")
    assert [line.step for line in lines] == list(range(1, 81))  # each step committed once
    undisturbed = read_steps(tmp_path / "whole" / "steps.jsonl")
    assert [line.loss for line in lines] == [line.loss for line in undisturbed]


def _wait_for_step(log: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        newest = last_step(log)
        if newest is not None and newest.step >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"{log} reached no step {step}")


@pytest.mark.long
def test_one_worker_resumed_repeats_the_undisturbed_losses_exactly(
    plan: Path, isocost: Command, tmp_path: Path
) -> None:
    for arguments in (
        ("-o", "whole.json", "--max-steps", "80"),
        ("-o", "part.json", "--max-steps", "40"),
        ("-o", "part.json", "--max-steps", "80", "--resume", "part"),
    ):
        done = isocost("run", plan, *arguments)
        assert done.returncode == 0, done.stderr
    whole, part = (read_steps(tmp_path / name / "steps.jsonl") for name in ("whole", "part"))
    assert [line.loss for line in part] == pytest.approx([line.loss for line in whole], rel=1e-6)


@pytest.mark.slow
def test_a_killed_worker_costs_a_restart_and_no_step(plan: Path, tmp_path: Path) -> None:
    setup = set_up(Plan.read(plan), workers=2)
    killed: list[int] = []

    def kill_once(line: StepLine) -> None:
        if line.step >= 30 and not killed:
            victims = [
                process
                for process in psutil.Process().children()
                if "isocost.execution.worker" in process.cmdline()
            ]
            killed.append(victims[-1].pid)
            victims[-1].kill()

    done = execute(setup, tmp_path / "chaos", plan_path="", max_steps=80, progress=kill_once)
    assert killed
    assert (done.steps, done.restarts, done.status) == (80, 1, "stopped")
    assert done.recoveries[0].lost_steps >= 0
    lines = read_steps(tmp_path / "chaos" / "steps.jsonl")
    assert [line.step for line in lines] == list(range(1, 81))
    assert orphans(tmp_path / "chaos") == []


@pytest.mark.slow
def test_workers_die_when_their_supervisor_is_killed(plan: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(
        command_line(["run", plan, "-o", "dead.json"]),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for_step(tmp_path / "dead" / "steps.jsonl", 5)
    assert len(orphans(tmp_path / "dead")) == 1
    running.kill()
    running.wait()
    deadline = time.monotonic() + 10
    while orphans(tmp_path / "dead") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert orphans(tmp_path / "dead") == []


def test_workers_that_cannot_share_the_batch_are_refused(plan: Path) -> None:
    with pytest.raises(InputError, match="does not divide among 5 workers; try 1, 2, 4, 8"):
        set_up(Plan.read(plan), workers=5)


def test_one_of_several_jobs_is_chosen_by_a_name_that_only_it_has(plan: Path) -> None:
    planned = Plan.read(plan)
    (job,) = planned.jobs
    other = job.model_copy(update={"name": "other"})
    assert set_up(planned.model_copy(update={"jobs": (job, other)}), job="other").job is other
    twice = planned.model_copy(update={"jobs": (job, job)})
    with pytest.raises(InputError, match=f"2 jobs of the plan are called '{job.name}'"):
        set_up(twice, job=job.name)
    with pytest.raises(InputError, match="no job is named; choose one of"):
        set_up(twice)


def test_an_unprofiled_number_of_workers_is_predicted_and_says_so(plan: Path) -> None:
    planned = set_up(Plan.read(plan))
    four = set_up(Plan.read(plan), workers=4)
    assert four.global_batch == planned.global_batch
    assert four.basis == "transferred"
    assert four.step_sigma > planned.step_sigma


# Files of a run


def save(root: Path, step: int, text: str = "weights") -> checkpoints.Saved:
    def write(prefix: str) -> None:
        Path(prefix + ".index").write_text(text, encoding="utf-8")

    return checkpoints.save(root, step, write)


def test_the_last_checkpoints_are_kept_and_the_newest_good_one_is_found(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        save(tmp_path, step)
    assert [saved.step for saved in checkpoints.all_saved(tmp_path)] == [20, 30, 40]
    newest = checkpoints.latest(tmp_path)
    assert newest is not None
    assert newest.step == 40
    Path(newest.prefix + ".index").write_text("trunc", encoding="utf-8")
    assert checkpoints.latest(tmp_path) == checkpoints.Saved(30, tmp_path / "step-000000030")
    for saved in checkpoints.all_saved(tmp_path):
        (saved.folder / checkpoints.SUMS).unlink()
    assert checkpoints.latest(tmp_path) is None


def test_a_checkpoint_cut_short_never_has_its_name(tmp_path: Path) -> None:
    def cut(prefix: str) -> None:
        Path(prefix + ".index").write_text("half", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(tmp_path, 10, cut)
    assert checkpoints.latest(tmp_path) is None
    assert save(tmp_path, 10).step == 10


def test_the_step_log_strikes_what_will_be_done_again(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with StepLog(path, 0) as log:
        for step in range(1, 11):
            log.append(StepLine(step, float(step), 0.5, 1.0))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 11, "at')  # a kill in the middle of a line
    assert [line.step for line in read_steps(path)] == list(range(1, 11))
    newest = last_step(path)
    assert newest is not None
    assert newest.step == 10
    with StepLog(path, 6) as log:
        log.append(StepLine(7, 7.0, 0.5, 2.0))
    assert [line.step for line in read_steps(path)] == [1, 2, 3, 4, 5, 6, 7]


def test_an_unfinished_run_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    open_folder(folder, resume=False)
    save(folder / "checkpoints", 10)
    with pytest.raises(InputError, match="--resume"):
        open_folder(folder, resume=False)
    open_folder(folder, resume=True)
    (folder / "finished").touch()
    open_folder(folder, resume=False)
    assert checkpoints.latest(folder / "checkpoints") is None
    with pytest.raises(InputError, match="no usable checkpoint"):
        open_folder(folder, resume=True)


def test_a_folder_that_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "checkpoints").mkdir(parents=True)
    (mine / "checkpoints" / "best.keras").write_text("weights", encoding="utf-8")
    with pytest.raises(InputError, match="no run of ours"):
        open_folder(mine, resume=False)
    (mine / "finished").touch()
    open_folder(mine, resume=False)
    assert (mine / "checkpoints" / "best.keras").exists()
