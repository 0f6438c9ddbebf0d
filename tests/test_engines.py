"""Engines: what they are told, and that the same training comes out wherever its workers run."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog.files import InputError
from isocost.execution import checkpoints
from isocost.execution.engines import KNOWN, Launch, Local, engine, placed, tf_config
from isocost.execution.engines import ray as ray_engine
from isocost.execution.engines import slurm as slurm_engine
from isocost.execution.telemetry import last_step, read_steps
from isocost.profiles.gang import free_ports

from .conftest import EXAMPLE, ROOT, Command, command_line, environment, recorded_profile

CLUSTER = ROOT / "benchmarks" / "slurm_cluster.py"
STEPS = 50

# No process can be given a NUL.
ENVIRONMENT_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
launches = st.builds(
    Launch,
    name=st.text(min_size=1, max_size=60),
    command=st.just(("-m", "isocost.execution.worker", "spec.json", "result.json")),
    tasks=st.lists(st.sampled_from(["worker", "ps", "chief"]), min_size=1, max_size=12).map(tuple),
    folder=st.just(Path("/shared/some run")),
    cores=st.integers(1, 64),
    devices=st.integers(0, 8),
    environment=st.dictionaries(st.sampled_from("AB"), ENVIRONMENT_TEXT),
    time_limit_s=st.none() | st.floats(1, 1e6),
)


# What engines are told


@given(st.lists(st.sampled_from(["worker", "ps", "chief"]), min_size=1, max_size=9))
def test_every_rank_finds_itself_in_tf_config(tasks: list[str]) -> None:
    addresses = [f"host{99 - rank}:{rank}" for rank in range(len(tasks))]  # sorted the other way
    for rank, task in enumerate(tasks):
        config = json.loads(tf_config(addresses, rank, tasks))
        mine = config["task"]
        assert mine["type"] == task
        assert config["cluster"][task][mine["index"]] == addresses[rank]
        assert sum(len(hosts) for hosts in config["cluster"].values()) == len(tasks)


@given(launches, st.data())
def test_ray_reserves_what_the_ranks_need_and_no_more(launch: Launch, data: st.DataObject) -> None:
    nodes = data.draw(
        st.none() | st.sampled_from([n for n in range(1, 13) if launch.ranks % n == 0])
    )
    launch = launch.model_copy(update={"nodes": nodes})
    bundles = ray_engine.bundles(launch)
    used = [ray_engine.bundle_of(launch, rank) for rank in range(launch.ranks)]
    assert len(bundles) == (nodes or launch.ranks)
    for index, bundle in enumerate(bundles):
        assert bundle["CPU"] == used.count(index) * launch.cores
        assert bundle.get("GPU", 0) == used.count(index) * launch.devices
    assert ray_engine.strategy(launch) == ("SPREAD" if nodes is None else "STRICT_SPREAD")


@given(launches)
def test_every_engine_describes_any_launch_without_its_service(launch: Launch) -> None:
    for name in KNOWN:
        assert engine(name).describe(launch)
    script = slurm_engine.script(launch, launch.folder / "slurm" / "one")
    assert f"#SBATCH --ntasks={launch.ranks}\n" in script
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", launch.slug)
    limit = re.search(r"--time=(\d+)\n", script)
    assert (limit is None) == (launch.time_limit_s is None)
    if limit and launch.time_limit_s:
        # The signal to save comes at the limit or later, even where Slurm sends it a minute early.
        assert int(limit[1]) * 60 - slurm_engine.SAVE_S - 60 >= launch.time_limit_s - 1e-6
        assert int(limit[1]) * 60 <= launch.time_limit_s + slurm_engine.SAVE_S + 120


@settings(max_examples=25)
@given(launches)
def test_a_slurm_script_is_sound_shell(launch: Launch) -> None:
    text = slurm_engine.script(launch, launch.folder / "slurm" / "one")
    lines = text.replace("exec srun", "printf '%s\\n' srun")
    told = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=True)
    words = told.stdout.splitlines()
    assert words[-1] == "/shared/some run/slurm/one"
    assert f"--cpus-per-task={launch.cores}" in words


def test_what_slurm_says_of_a_job_is_read() -> None:
    job = slurm_engine.Job.parse("JobId=3 JobState=PREEMPTED Reason=None ExitCode=0:0")
    assert (job.state, job.reason, job.ended) == ("PREEMPTED", "", True)
    assert not slurm_engine.Job.parse("JobState=COMPLETING Reason=None").ended
    assert slurm_engine.Job.parse("").state == "GONE"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("slrum", "did you mean 'slurm'"),
        ("nowhere:Engine", "No module named 'nowhere'"),
        ("json:Engine", "no callable 'Engine'"),
    ],
)
def test_an_unknown_engine_is_refused_with_what_to_do(name: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        engine(name)


def test_what_a_machine_lacks_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    lacking = engine("slurm").available()
    assert lacking is not None
    assert "sbatch is not on PATH" in lacking
    assert "apt-get install slurm-wlm" in lacking
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert (
        engine("ray").available() == "the package ray is not installed; pip install 'isocost[ray]'"
    )
    assert engine("local").available() is None


def test_a_ray_cluster_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    lacking = engine("ray").available()
    assert lacking is not None
    assert f"nobody answers at RAY_ADDRESS 127.0.0.1:{port}" in lacking


def test_a_gang_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    launch = Launch(
        name="half",
        command=("-c", "import time; time.sleep(60)"),
        tasks=("worker", "worker"),
        folder=tmp_path,
        cores=1,
    )
    with pytest.raises(FileNotFoundError), placed(Local([[], ["/no/such/command"]]), launch):
        pass
    assert psutil.Process().children() == []


# The same training everywhere


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of 400 steps of batch 32."""
    folder = tmp_path_factory.mktemp("plan")
    text = EXAMPLE.read_text(encoding="utf-8").replace("50000", "1600")
    text = text.replace("epochs: 10", "epochs: 8").replace("[32, 64, 128]", "32")
    (folder / "short.yaml").write_text(
        text.replace("critical_batch", "# critical_batch"), encoding="utf-8"
    )
    recorded_profile().write(folder / "profile.json")
    words = ["optimize", "short.yaml", "--profile", "profile.json", "-o", "plan.json"]
    subprocess.run(command_line(words), cwd=folder, env=environment(folder), check=True)
    (folder / "profile.json").unlink()
    return folder / "plan.json"


@pytest.fixture(scope="module")
def local_losses(plan: Path) -> dict[int, float]:
    return trained("local", plan, plan.parent)


def trained(name: str, plan: Path, folder: Path) -> dict[int, float]:
    """The loss of each step of a run of two workers, which must have ended well."""
    words = ["run", str(plan), "--engine", name, "--workers", "2", "--max-steps", str(STEPS)]
    output = folder / f"{name.partition(':')[0]}.json"
    done = subprocess.run(
        command_line([*words, "-o", str(output)]),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(output.read_text(encoding="utf-8"))
    assert (run["workers"], run["steps"], run["restarts"]) == (2, STEPS, 0)
    assert run["engine"] == name.partition(":")[0]
    assert remains(folder / output.stem) == []
    return {point["step"]: point["loss"] for point in run["losses"]}


def remains(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def check_same(found: dict[int, float], expected: dict[int, float]) -> None:
    """Within 1e-5 over the first eight steps, before rounding grows, and 2 % to the end."""
    assert sorted(found) == sorted(expected) == list(range(1, STEPS + 1))
    apart = {step: abs(found[step] / expected[step] - 1) for step in found}
    early = max(apart[step] for step in range(1, 9))
    print(
        f"largest relative difference: {early:.1e} over 8 steps, {max(apart.values()):.1e} over all"
    )
    assert early <= 1e-5
    assert max(apart.values()) <= 0.02


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A controller and two nodes of one processor on this machine."""
    sys.path.insert(0, str(CLUSTER.parent))
    try:
        import slurm_cluster
    finally:
        sys.path.remove(str(CLUSTER.parent))
    if (lacking := slurm_cluster.missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{lacking}; CI must have it")
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("slurm")
    slurm_cluster.up(folder, nodes=2, cpus=1, max_minutes="60")
    patch = pytest.MonkeyPatch()
    patch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
    yield
    patch.undo()
    slurm_cluster.down(folder)


@pytest.fixture
def ray_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray keeps its sessions, by which its processes are known; sockets want a short path."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as name:
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield Path(name)


@pytest.mark.long
def test_slurm_trains_with_the_losses_of_local(
    slurm: None, plan: Path, local_losses: dict[int, float], tmp_path: Path
) -> None:
    check_same(trained("slurm", plan, tmp_path), local_losses)
    assert jobs() == []


@pytest.mark.long
def test_ray_trains_with_the_losses_of_local(
    ray_home: Path, plan: Path, local_losses: dict[int, float], tmp_path: Path
) -> None:
    check_same(trained("ray", plan, tmp_path), local_losses)
    assert remains(ray_home) == []


@pytest.mark.long
def test_the_engine_of_the_documentation_is_short_and_trains_with_the_losses_of_local(
    plan: Path, local_losses: dict[int, float], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    shown = re.search(r'```python title="pinned\.py"\n(.*?)```', page, re.DOTALL)
    assert shown is not None
    assert len(shown[1].splitlines()) < 60
    (tmp_path / "pinned.py").write_text(shown[1], encoding="utf-8")
    check_same(trained("pinned:Pinned", plan, tmp_path), local_losses)


def jobs() -> list[str]:
    told = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
    return told.stdout.split()


# Losing workers, and ending well


def started(name: str, plan: Path, folder: Path, steps: int = 400) -> "subprocess.Popen[str]":
    words = ["run", str(plan), "--engine", name, "--workers", "2", "--max-steps", str(steps)]
    return subprocess.Popen(
        command_line([*words, "-o", str(folder / "run.json")]),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_step(running: "subprocess.Popen[str]", folder: Path, step: int) -> None:
    def reached() -> bool:
        assert running.poll() is None, running.communicate()[1]
        newest = last_step(folder / "steps.jsonl")
        return newest is not None and newest.step >= step

    wait_until(reached)


def wait_until(done: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)


def workers_of(folder: Path) -> list[psutil.Process]:
    spec = str(folder / "spec.json")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if spec in (process.info["cmdline"] or ())
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_a_killed_worker_costs_a_restart_and_no_step(
    name: str, plan: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "slurm":
        request.getfixturevalue("slurm")
    running = started(name, plan, tmp_path)
    await_step(running, tmp_path / "run", 60)
    workers_of(tmp_path / "run")[-1].kill()
    _, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (run["steps"], run["restarts"], run["status"]) == (400, 1, "finished")
    steps = [line.step for line in read_steps(tmp_path / "run" / "steps.jsonl")]
    assert steps == list(range(1, 401))
    assert remains(tmp_path / "run") == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_ctrl_c_saves_and_leaves_nothing_behind(
    name: str, ray_home: Path, plan: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "slurm":
        request.getfixturevalue("slurm")
    running = started(name, plan, tmp_path)
    await_step(running, tmp_path / "run", 30)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to all that share it
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    saved = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert (run["status"], run["steps"]) == ("interrupted", saved.step)
    assert saved.step >= 30
    assert remains(tmp_path / "run") == []
    assert remains(ray_home) == []
    if name == "slurm":
        assert jobs() == []


@pytest.mark.long
def test_nothing_of_ray_outlives_its_killed_submitter(
    ray_home: Path, plan: Path, tmp_path: Path
) -> None:
    running = started("ray", plan, tmp_path)
    await_step(running, tmp_path / "run", 5)
    running.kill()
    running.communicate()
    wait_until(lambda: remains(tmp_path / "run") == [] and remains(ray_home) == [], 60)


@pytest.mark.long
def test_workers_are_spread_over_a_ray_cluster_that_is_already_there(
    ray_home: Path, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token would have to be handed around
    shared = ["--block", "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
    head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={ray_home}/head"]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    with ended(subprocess.Popen([*ray, *head, *shared], stdout=subprocess.DEVNULL)):
        wait_until(lambda: listens(port), 60)
        joined = [f"--address=127.0.0.1:{port}", *shared]
        with ended(subprocess.Popen([*ray, *joined], stdout=subprocess.DEVNULL)):
            monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
            found = trained("ray", plan, tmp_path)
    assert len(found) == STEPS
    wait_until(lambda: remains(ray_home) == [], 60)


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.long
def test_a_job_that_somebody_cancels_is_submitted_again(
    slurm: None, plan: Path, tmp_path: Path
) -> None:
    running = started("slurm", plan, tmp_path)
    await_step(running, tmp_path / "run", 60)
    subprocess.run(["scancel", "--user=root"], check=True)
    _, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (run["steps"], run["restarts"]) == (400, 1)
    assert "was cancelled" in run["recoveries"][0]["reason"]
    assert run["recoveries"][0]["lost_steps"] == 0  # Slurm asks before it kills: all saved


@pytest.mark.long
def test_a_job_whose_submitter_is_killed_saves_and_ends(slurm: None, tmp_path: Path) -> None:
    asked = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(print('asked')))\ntime.sleep(99)"
    launch = Launch(
        name="orphan",
        command=("-c", asked),
        tasks=("worker", "worker"),
        folder=tmp_path,
        cores=1,
        orphaned_s=8,
    )
    with placed(engine("slurm"), launch) as gang:
        wait_until(lambda: gang.waiting() is None)
        wait_until(
            lambda: jobs() == [], 40
        )  # nobody asks the placement meanwhile: no sign is given
        assert gang.codes() == [0, 0]
    assert [log.read_text() for log in gang.logs] == ["asked\n", "asked\n"]


def test_a_dry_run_prints_the_script_and_submits_nothing(isocost: Command, plan: Path) -> None:
    told = isocost("run", plan, "--engine", "slurm", "--workers", "2", "--dry-run")
    assert told.returncode == 0
    assert "#SBATCH --ntasks=2" in told.stdout
    assert "isocost.execution.engines.slurm" in told.stdout
    assert not (plan.parent / "run").exists()
