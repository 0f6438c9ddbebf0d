"""The program in the pods: it finds its place, starts the worker, and its end means something."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isocost.catalog.files import InputError
from isocost.execution.pod import contract_of, place
from isocost.execution.telemetry import read_steps

from .orders import order

DLC = {
    "cluster": {"worker": ["dlc1-worker-0.x.svc:2222", "dlc1-worker-1.x.svc:2222"]},
    "task": {"type": "worker", "index": 1},
    "environment": "cloud",
}


@pytest.mark.parametrize(
    ("environment", "rank", "first"),
    [
        ({"ISOCOST_HOSTS": "a-0.a:2222,a-1.a:2222", "JOB_COMPLETION_INDEX": "1"}, 1, "a-0.a:2222"),
        (
            {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "1"},
            1,
            "10.0.0.1:2222",
        ),
        ({"TF_CONFIG": json.dumps(DLC)}, 1, "dlc1-worker-0.x.svc:2222"),
    ],
)
def test_a_worker_finds_its_rank_and_its_peers_wherever_it_is(
    environment: dict[str, str], rank: int, first: str
) -> None:
    found, addresses = place(environment, 2)
    assert (found, addresses[0], len(addresses)) == (rank, first, 2)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "says who the other workers are"),
        ({"ISOCOST_HOSTS": "a:1", "JOB_COMPLETION_INDEX": "0"}, "1 hosts are named for 2"),
        ({"ISOCOST_HOSTS": "a:1,b:1"}, "the rank '' is none of 0 to 1"),
        ({"ISOCOST_HOSTS": "a:1,b:1", "JOB_COMPLETION_INDEX": "2"}, "the rank '2'"),
    ],
)
def test_a_worker_that_is_not_told_its_place_is_refused(
    environment: dict[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        place(environment, 2)


def test_the_contract_comes_back_from_the_environment() -> None:
    contract = order().contract
    assert contract_of({"ISOCOST_WORK": contract.to_text()}) == contract
    with pytest.raises(InputError, match="ISOCOST_WORK is not set"):
        contract_of({})


def pod(folder: Path, rank: int, hosts: str, **changes: object) -> subprocess.Popen[str]:
    """One pod of a gang as the manifest would start it, on this machine."""
    workers = hosts.count(",") + 1
    made = order("own CPU", workers, nodes=1)
    spec = dict(made.contract.spec) | {
        "folder": str(folder),
        "model_folder": str(folder),
        "global_batch": 32,
        "per_device_batch": 32 // workers,
        "cores": 1,
        "checkpointing": {"every_s": 1.0, "write_s": 0.01, "mean_to_interruption_s": 3600.0},
        "steps": 100_000,
        "stop_after": 30,
        **changes,
    }
    contract = made.contract.model_copy(update={"spec": spec})
    deadline = changes.get("deadline_s")
    if deadline is not None:
        del spec["deadline_s"]
        contract = contract.model_copy(update={"spec": spec, "deadline_s": deadline})
    return subprocess.Popen(
        [sys.executable, "-m", "isocost.execution.pod"],
        env={
            **os.environ,
            "ISOCOST_WORK": contract.to_text(),
            "ISOCOST_HOSTS": hosts,
            "JOB_COMPLETION_INDEX": str(rank),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_pods_train_and_the_chief_tells_the_result(tmp_path: Path) -> None:
    from isocost.profiles.gang import free_ports

    hosts = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    pods = [pod(tmp_path, rank, hosts) for rank in range(2)]
    ended = [one.communicate(timeout=240) for one in pods]
    assert [one.returncode for one in pods] == [0, 0], ended
    (line,) = [one for one in ended[0][0].splitlines() if one.startswith("isocost-result ")]
    result = json.loads(line.removeprefix("isocost-result "))
    assert (result["status"], result["step"]) == ("stopped", 30)
    assert len(read_steps(tmp_path / "steps.jsonl")) == 30


@pytest.mark.slow
def test_a_pod_that_is_asked_to_end_saves_and_asks_to_be_started_again(tmp_path: Path) -> None:
    one = pod(tmp_path, 0, "127.0.0.1:1", stop_after=100_000)
    log, until = tmp_path / "steps.jsonl", time.time() + 120
    while len(read_steps(log)) < 5 and time.time() < until:
        time.sleep(0.1)
    one.send_signal(signal.SIGTERM)
    _, err = one.communicate(timeout=90)
    assert one.returncode == 143, err
    assert list((tmp_path / "checkpoints").glob("step-*"))
    over = pod(tmp_path, 0, "127.0.0.1:1", stop_after=100_000, deadline_s=1)
    _, err = over.communicate(timeout=120)
    assert over.returncode == 4, err
    assert "the deadline of 1 s has come" in err


@pytest.mark.slow
def test_a_pod_whose_task_is_refused_is_not_to_be_started_again(tmp_path: Path) -> None:
    one = pod(tmp_path, 0, "127.0.0.1:1", global_batch=33)
    _, err = one.communicate(timeout=120)
    assert one.returncode == 2, err
    assert "33" in err
