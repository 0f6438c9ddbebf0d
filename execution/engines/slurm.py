"""A batch job of Slurm: sbatch, and srun starts this module once for each rank.

What Slurm is told is a script that a person could submit. Ranks find each other through the gang's
folder: each writes where it can be reached, and reads the others. So no rank depends on how Slurm
sorts its hosts. Partition, account and the like are sbatch's own variables (SBATCH_PARTITION, ...).
"""

import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...catalog.files import InputError, write_whole
from .base import EngineFailed, Launch
from .rank import Rank, free_address

SAVE_S = 90.0  # from Slurm's SIGTERM to its SIGKILL at the time limit; Slurm counts in minutes
MEET_S = 300.0  # for all ranks to say where they are; srun starts them together
OWNER, OWNER_S = "owner", 5.0  # sign that the submitter still watches, and its interval
LEAVING_S = 10.0  # from the last rank's end to the job's
LONGEST_WAIT_S = 120.0  # for a cancelled job to be gone; KillWait is 30 s by default
ASK_S = (1.0, 10.0)  # between questions to the controller: at first, and after some minutes
SENDS = ("sbatch", "scancel", "scontrol")

FAULTS = {
    "BOOT_FAIL": "could not start a node",
    "CANCELLED": "was cancelled",
    "DEADLINE": "reached its deadline",
    "NODE_FAIL": "lost a node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted",
    "TIMEOUT": "reached its time limit",
    "GONE": "is no longer known to Slurm",
}
ENDED = {*FAULTS, "COMPLETED", "FAILED", "REVOKED"}


@dataclass(frozen=True, slots=True)
class Job:
    """What the controller says of a job."""

    state: str
    reason: str = ""

    @classmethod
    def parse(cls, text: str) -> "Job":
        """From ``scontrol --oneliner show job``.

        >>> Job.parse("JobId=7 JobState=PENDING Reason=Resources Dependency=(null)")
        Job(state='PENDING', reason='Resources')
        """
        found = dict(re.findall(r"\b(JobState|Reason)=(\S+)", text))
        return cls(found.get("JobState", "GONE"), found.get("Reason", "").replace("None", ""))

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Slurm:
    """Submits to the cluster that this machine's Slurm commands speak to."""

    name, here = "slurm", True

    def available(self) -> str | None:
        missing = [command for command in SENDS if shutil.which(command) is None]
        if missing:
            return (
                f"Slurm's {missing[0]} is not on PATH; run this on a login node of a Slurm "
                "cluster (on Debian, apt-get install slurm-wlm brings the commands)"
            )
        ping = _slurm("scontrol", "ping")
        if ping.returncode or "UP" not in ping.stdout:
            words = _words(ping)
            return f"Slurm's controller does not answer ({words}); check SLURM_CONF and slurmctld"
        return None

    def describe(self, launch: Launch) -> str:
        return script(launch, launch.folder / "slurm" / "GANG")

    def submit(self, launch: Launch) -> "SlurmPlacement":
        cancel_earlier(launch.folder)
        gang = launch.folder / "slurm" / secrets.token_hex(4)
        gang.mkdir(parents=True)
        launch.write(gang / "launch.json")
        done = _submitted(launch, gang)
        if done.returncode and "time limit" in done.stderr and launch.time_limit_s is not None:
            # A partition that allows less: its own limit, and then another job goes on.
            done = _submitted(launch.model_copy(update={"time_limit_s": None}), gang)
        if done.returncode:
            words = _words(done)
            if re.search(r"contact|connect|timed out", words, re.IGNORECASE):
                raise EngineFailed(f"sbatch could not reach Slurm's controller: {words}")
            raise InputError(
                f"Slurm refused {launch.ranks} workers with {launch.cores} processors each: {words}; "
                "take fewer (--workers, --threads) or another partition (SBATCH_PARTITION)"
            )
        return SlurmPlacement(launch, gang, done.stdout.strip().split(";")[0])


def script(launch: Launch, gang: Path) -> str:
    """The batch script; gang: the folder where its ranks meet."""
    options = [f"job-name={_job_name(gang)}", f"comment={launch.slug}", f"ntasks={launch.ranks}"]
    if launch.nodes is not None:
        options += [f"nodes={launch.nodes}", f"ntasks-per-node={launch.ranks_per_node}"]
    options.append(f"cpus-per-task={launch.cores}")
    if launch.devices:
        options.append(f"gpus-per-task={launch.devices}")
    options += [f"chdir={launch.folder}", f"output={gang / 'job.log'}"]
    if launch.time_limit_s is not None:
        minutes = -(-(launch.time_limit_s + SAVE_S) // 60) + 1  # --signal may come a minute early
        options.append(f"time={minutes:.0f}")
    # One owner starts a gang again, and it is the supervisor.
    options += [f"signal=TERM@{SAVE_S:.0f}", "no-requeue"]
    exports = [f"export {name}={shlex.quote(text)}" for name, text in launch.environment.items()]
    gpus = [f"--gpus-per-task={launch.devices}"] if launch.devices else []
    step = ["srun", "--kill-on-bad-exit=1", "--distribution=block", *gpus]
    step += [f"--cpus-per-task={launch.cores}", sys.executable, "-m", __name__, str(gang)]
    lines = [*(f"#SBATCH {shlex.quote('--' + option)}" for option in options), *exports]
    return "\n".join(["#!/bin/bash", *lines, f"exec {shlex.join(step)}", ""])


def _submitted(launch: Launch, gang: Path) -> subprocess.CompletedProcess[str]:
    write_whole(gang / "job.sh", script(launch, gang))
    try:
        return _slurm("sbatch", "--parsable", str(gang / "job.sh"))
    except BaseException:
        cancel_earlier(launch.folder)  # it may have been submitted before we heard of it
        raise


def cancel_earlier(folder: Path) -> None:
    """End what an earlier submission of the run in folder left with Slurm, and forget it."""
    for gang in sorted((folder / "slurm").glob("*")):
        _cancel(_job_name(gang))
        shutil.rmtree(gang, ignore_errors=True)


def _cancel(name: str) -> None:
    _slurm("scancel", "--quiet", f"--name={name}")
    known = ("squeue", "--noheader", f"--name={name}")
    if not _until(lambda: not _slurm(*known).stdout.strip(), LONGEST_WAIT_S):
        raise EngineFailed(f"Slurm's {name} does not end; see squeue and scancel")


class SlurmPlacement:
    """One job. Its ranks tell of themselves in files; only what they cannot tell is asked of Slurm."""

    def __init__(self, launch: Launch, gang: Path, job: str) -> None:
        self.job = job
        self.logs = [launch.log(rank) for rank in range(launch.ranks)]
        self._gang, self._ranks = gang, launch.ranks
        self._known, self._asked, self._began = Job("PENDING"), 0.0, time.monotonic()
        self._unwanted, self._signed = False, -OWNER_S

    def hosts(self) -> tuple[str, ...]:
        found = _read_all(self._gang, "address", self._ranks)
        return tuple(address.rpartition(":")[0] for address in found or ())

    def waiting(self) -> str | None:
        if self.hosts() or self._ask().ended:
            return None
        if self._known.state == "RUNNING":
            return f"Slurm job {self.job} starts its workers"
        why = f" ({self._known.reason})" if self._known.reason else ""
        return f"Slurm job {self.job} is {self._known.state.lower()}{why}"

    def codes(self) -> list[int | None]:
        ended = self._ask()
        texts = [_read(self._gang / f"code-{rank}") for rank in range(self._ranks)]
        missing = None
        if ended.ended:  # asked first: whoever has left no code by now will leave none
            missing = 0 if ended.state == "COMPLETED" else -signal.SIGKILL
        return [missing if text is None else int(text) for text in texts]

    def fault(self) -> str | None:
        if all((self._gang / f"code-{rank}").exists() for rank in range(self._ranks)):
            self._gone_within(LEAVING_S)  # while nodes are cleaned up, why it ended is not told
        words = FAULTS.get(self._ask().state)
        return f"Slurm job {self.job} {words}" if words and not self._unwanted else None

    def terminate(self) -> None:
        self._unwanted = True
        # Tasks can be signalled once they run; a job in the queue is taken out of it.
        running = ["--signal=TERM"] if self.hosts() else []
        _slurm("scancel", "--quiet", *running, self.job)

    def kill(self) -> None:
        self._unwanted = True
        # Where all ranks have ended, so does the job, and with a better word than "cancelled".
        if None not in self.codes() and self._gone_within(LEAVING_S):
            return
        if not self._ask(now=True).ended:
            _slurm("scancel", "--quiet", "--signal=KILL", self.job)
            _slurm("scancel", "--quiet", self.job)
        if not self._gone_within(LONGEST_WAIT_S):
            raise EngineFailed(f"Slurm job {self.job} does not end; see squeue and scancel")

    def _gone_within(self, seconds: float) -> bool:
        return _until(lambda: self._ask(now=True).ended, seconds)

    def _ask(self, *, now: bool = False) -> Job:
        """The job as the controller last told; asked again after a while, ever more seldom."""
        if time.monotonic() - self._signed > OWNER_S:
            (self._gang / OWNER).touch()
            self._signed = time.monotonic()
        age = time.monotonic() - self._began
        pause = min(max(ASK_S[0], age / 30), ASK_S[1])
        if self._known.ended or (time.monotonic() - self._asked < pause and not now):
            return self._known
        told = _slurm("scontrol", "--oneliner", "show", "job", self.job)
        self._asked = time.monotonic()
        # A controller that is away for a while tells nothing, and changes nothing.
        if not told.returncode or "Invalid job id" in told.stderr:
            self._known = Job.parse(told.stdout)
        return self._known


class Owner:
    """The submitting process, as its gang sees it: a file that it touches while it watches.

    Only that the time of change changes is looked at, for the clocks of two hosts differ.
    """

    def __init__(self, gang: Path) -> None:
        self._gang, self._changed, self._noticed = gang, "", time.monotonic()

    def silent_s(self) -> float:
        """Seconds since a sign was last noticed."""
        sign = self._gang / OWNER
        changed = str(sign.stat().st_mtime_ns) if sign.exists() else ""
        if changed != self._changed:
            self._changed, self._noticed = changed, time.monotonic()
        return time.monotonic() - self._noticed


def main() -> int:
    """One rank, started by srun: meet the others, run the worker, leave its exit code."""
    gang, rank = Path(sys.argv[1]), int(os.environ["SLURM_PROCID"])
    launch = Launch.read(gang / "launch.json")
    write_whole(gang / f"address-{rank}", free_address(_node_address()))
    deadline = time.monotonic() + MEET_S
    while (addresses := _read_all(gang, "address", launch.ranks)) is None:
        if time.monotonic() > deadline:
            raise EngineFailed(f"not all ranks were at {gang} within {MEET_S:.0f} s")
        time.sleep(0.1)
    worker = Rank(launch, rank, addresses)
    signal.signal(signal.SIGTERM, lambda number, frame: worker.terminate())
    owner, orphaned = Owner(gang), False
    while (code := worker.code()) is None:
        time.sleep(0.2)
        if not orphaned and owner.silent_s() > launch.orphaned_s:
            orphaned = True
            worker.terminate()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one more wish does not change how it ended
    write_whole(gang / f"code-{rank}", str(code))
    return code if code >= 0 else 128 - code


def _node_address() -> str:
    """How other nodes reach this one: as Slurm itself does."""
    name = os.environ["SLURMD_NODENAME"]
    told = _slurm("scontrol", "--oneliner", "show", "node", name)
    found = re.search(r"\bNodeAddr=(\S+)", told.stdout)
    return found[1] if found else name


def _job_name(gang: Path) -> str:
    return f"isocost-{gang.name}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _read_all(gang: Path, what: str, ranks: int) -> list[str] | None:
    """What every rank has written; None until all have."""
    found = [text for rank in range(ranks) if (text := _read(gang / f"{what}-{rank}"))]
    return found if len(found) == ranks else None


def _slurm(*words: str) -> subprocess.CompletedProcess[str]:
    # In a session of its own: Ctrl-C is for us to answer, not for a command under way.
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def _words(done: subprocess.CompletedProcess[str]) -> str:
    text = " ".join((done.stderr or done.stdout).split())
    return text.replace("sbatch: error: ", "") or f"exit code {done.returncode}"


def _until(done: Callable[[], bool], seconds: float) -> bool:
    """Whether it came to be within so many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


if __name__ == "__main__":
    sys.exit(main())
