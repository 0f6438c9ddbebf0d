"""A real Slurm on this machine alone: a controller and several nodes on loopback, without systemd.

    python benchmarks/slurm_cluster.py up FOLDER [--nodes 2] [--cpus 1]
    export SLURM_CONF=FOLDER/slurm.conf
    isocost run plan.json --engine slurm --workers 2
    python benchmarks/slurm_cluster.py down FOLDER

Needs root and Debian's slurm-wlm and munge (apt-get install slurm-wlm munge); changes nothing outside
FOLDER. Each node has the processors it is told, whatever the machine has, and no cgroup limits them.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

START_S = 30.0
STOP_S = 20.0
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")

CONFIGURATION = """\
ClusterName=isocost
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={slurmd_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0
EnforcePartLimits=ALL
MailProg=/bin/true
MpiDefault=none
KillWait=5
MinJobAge=300
ReturnToService=2
SlurmctldParameters=node_reg_mem_percent=1
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime={max_minutes} State=UP
"""


def missing() -> str | None:
    """What this machine lacks to start the cluster, in a sentence."""
    lacking = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"{lacking[0]} is not installed; apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "Slurm's daemons here need root; run as root"


def up(folder: Path, nodes: int, cpus: int, max_minutes: str = "INFINITE") -> None:
    """Start munged, slurmctld and the slurmds; return once all nodes are idle."""
    folder = folder.resolve()
    if (folder / "slurm.conf").exists():
        sys.exit(f"{folder} holds a cluster already; take it down first")
    (folder / "state").mkdir(parents=True, exist_ok=True)
    ports = _free_ports(nodes + 2)
    host = socket.gethostname().split(".")[0]
    rows = "\n".join(
        f"NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n]} CPUs={cpus}"
        for n in range(nodes)
    )
    text = CONFIGURATION.format(
        host=host,
        folder=folder,
        controller_port=ports[-1],
        slurmd_port=ports[-2],
        nodes=rows,
        max_minutes=max_minutes,
    )
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    try:
        _munged(folder)
        _daemon(folder, "slurmctld", "slurmctld", "-f", f"{folder}/slurm.conf")
        for n in range(nodes):
            (folder / f"spool-n{n}").mkdir(exist_ok=True)
            _daemon(folder, f"slurmd-n{n}", "slurmd", "-N", f"n{n}", "-f", f"{folder}/slurm.conf")
        _until(lambda: idle(folder) == nodes, f"{nodes} idle nodes", folder)
    except BaseException:
        down(folder)
        raise


def idle(folder: Path) -> int:
    """How many nodes are idle."""
    told = _run(folder, "sinfo", "--noheader", "--Node", "--format=%t")
    return told.stdout.split().count("idle")


def down(folder: Path) -> None:
    """End the cluster's daemons; its folder stays, without the configuration."""
    folder = folder.resolve()
    if (folder / "slurm.conf").exists():
        _run(folder, "scancel", "--signal=KILL", "--state=RUNNING", timeout=10)
    pids = [int(file.read_text()) for file in folder.glob("*.pid") if file.read_text().strip()]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + STOP_S
        while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.1)
    for file in [*folder.glob("*.pid"), folder / "slurm.conf"]:
        file.unlink(missing_ok=True)


def _munged(folder: Path) -> None:
    # --force: it runs as root here, in a folder that root alone may enter.
    _daemon(
        folder,
        "munged",
        "munged",
        "--force",
        f"--key-file={folder}/munge.key",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munge.seed",
        "--num-threads=2",
    )


def _daemon(folder: Path, name: str, *words: str) -> None:
    done = _run(folder, *words)
    if done.returncode:
        raise SystemExit(f"{words[0]} did not start: {done.stderr.strip()}; see {folder}")
    pid = folder / f"{name}.pid"
    _until(lambda: pid.exists() and pid.read_text().strip() != "", f"{name} to start", folder)


def _run(folder: Path, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        start_new_session=True,
        env={**os.environ, "PATH": _path(), "SLURM_CONF": f"{folder}/slurm.conf"},
    )


def _until(done: Callable[[], bool], what: str, folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {START_S:.0f} s for {what} in vain; see the logs in {folder}")
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each node")
    given = parser.parse_args()
    if given.action == "down":
        down(given.folder)
        return
    if (lacking := missing()) is not None:
        sys.exit(lacking)
    up(given.folder, given.nodes, given.cpus)
    print(f"export SLURM_CONF={given.folder.resolve()}/slurm.conf")


if __name__ == "__main__":
    main()
