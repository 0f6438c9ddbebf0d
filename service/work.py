"""One job in a process of its own: ``python -m isocost.service.work SPEC``, SPEC in JSON.

Its last line to the pipe ``tell`` is the result or the error; before it, progress. It ends when the
service does, for it holds a pipe to it as standard input.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ..catalog.files import Document
from ..profiles.worker import die_with_parent
from .folder import Folder
from .jobs import Kind
from .requests import REQUESTS, RESULTS, JobRequest, PlanRequest, RunRequest, SimulationRequest


class Teller:
    """Writes what is to be known of a job to the service, a JSON document a line."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def progress(self, share: float, note: str = "") -> None:
        self._say({"progress": min(max(share, 0.0), 1.0), "note": note[:200]})

    def result(self, name: str) -> None:
        self._say({"result": name})

    def error(self, words: str) -> None:
        self._say({"error": words[:4000]})

    def _say(self, what: dict[str, Any]) -> None:
        os.write(self._pipe, (json.dumps(what) + "\n").encode())


def main() -> int:
    spec = json.loads(sys.argv[1])
    die_with_parent()
    signal.signal(signal.SIGTERM, _interrupt)
    teller = Teller(spec["tell"])
    folder = Folder(Path(spec["root"]))
    kind: Kind = spec["kind"]
    try:
        request = REQUESTS[kind].model_validate(spec["request"])
        target = folder.path(f"{RESULTS[kind]}/{spec['id']}.json")
        _do(request, folder, target, teller).write(target)
        teller.result(folder.name(target))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # Errors that are answers carry their exit code; of any other the log has the traceback.
        if getattr(error, "exit_code", None) is None:
            teller.error(f"a fault of isocost's own: {type(error).__name__}: {error}")
            raise
        teller.error(str(error))
        return 2
    return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _do(request: JobRequest, folder: Folder, target: Path, teller: Teller) -> Document:
    if isinstance(request, PlanRequest):
        from .planning import plan

        return plan(request, folder, teller.progress)
    if isinstance(request, SimulationRequest):
        return _rehearse(request, folder, teller)
    return _run(request, folder, target, teller)


def _rehearse(request: SimulationRequest, folder: Folder, teller: Teller) -> Document:
    from ..optimizer.plan import Plan
    from ..simulator.rehearsal import rehearse

    plan = Plan.read(folder.existing(request.plan))
    return rehearse(
        plan,
        replications=request.replications,
        seed=request.seed,
        which="runnable_here" if request.here else "chosen",
        progress=lambda done: teller.progress(done / request.replications, f"{done:,} futures"),
        plan_path=request.plan,
    )


def _run(request: RunRequest, folder: Folder, target: Path, teller: Teller) -> Document:
    from ..execution.engines import engine
    from ..execution.run import execute
    from ..execution.setup import set_up
    from ..execution.supervisor import RunFailed
    from ..optimizer.plan import Plan

    ready = set_up(
        Plan.read(folder.existing(request.plan)), job=request.job, workers=request.workers
    )
    steps = ready.steps if request.max_steps is None else min(ready.steps, request.max_steps)
    place = target.with_suffix("")
    done = execute(
        ready,
        place,
        plan_path=request.plan,
        engine=engine(request.engine),
        resume=_cut_short(place),
        max_steps=request.max_steps,
        seed=request.seed,
        progress=lambda line: teller.progress(line.step / steps, f"loss {line.loss:.4f}"),
        note=lambda why: teller.progress(0.0, why),
    )
    if done.status == "interrupted":
        raise KeyboardInterrupt
    if done.status == "failed":
        done.write(target)  # what was spent, and where it can go on
        raise RunFailed(done.reason)
    return done


def _cut_short(place: Path) -> bool:
    """Whether an earlier attempt left a run to go on with."""
    from ..catalog.files import InputError
    from ..execution.run import FINISHED, check_folder

    try:
        check_folder(place, resume=True)
    except InputError:
        return False
    return not (place / FINISHED).exists()


if __name__ == "__main__":
    sys.exit(main())
