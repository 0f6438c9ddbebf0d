"""The live view under load: how soon a slider has its plan, and whether anything is lost.

    python benchmarks/serving.py [-o figures.json] [--seconds 60] [--clients 32]

Starts `isocost serve` on the example over the built-in catalog and this machine, then:

slider   one client moves weights, deadline and budget at random; milliseconds from request to plan
load     so many clients at once read, re-plan and queue jobs for so many seconds; every answer that
         is not as it should be is an error
killed   SIGKILL while jobs run; a new service on the same folder; every accepted job must end done,
         and every plan served meanwhile must be whole
"""

import argparse
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NAME = "cifar10.yaml"
TOKEN = "token-of-the-benchmark-0123456789"
SLIDES = 200
PATIENCE_S = 1200


class Client:
    """One connection to the service; what fails is kept as a sentence."""

    def __init__(self, port: int) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.errors: list[str] = []
        self.answers = 0

    def ask(self, method: str, path: str, body: Any = None, *, expected: int = 200) -> Any:
        text = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        try:
            self._line.request(method, f"/api/v1/{path}", text, headers)
            answer = self._line.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.errors.append(f"{method} {path}: {type(error).__name__} {error}")
            self._line.close()
            return None
        self.answers += 1
        if answer.status != expected:
            self.errors.append(f"{method} {path}: {answer.status} {str(content)[:200]}")
            return None
        return content


def start(folder: Path, workers: int) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "isocost", "serve", str(folder), "--port", "0", "--json"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)],
        env={**os.environ, "ISOCOST_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(json.loads(process.stdout.readline())["port"])


def wishes(rng: random.Random, space: dict[str, Any]) -> dict[str, Any]:
    """Sliders anywhere on the page, each limit off half of the time."""
    alpha, beta, gamma = (rng.random() for _ in range(3))
    times = space["front"]["time_s"] + space["others"]["time_s"]
    costs = space["front"]["cost_usd"] + space["others"]["cost_usd"]
    low, high, cheap, dear = min(times), max(times), max(min(costs), 1e-4), max(costs)
    return {
        "workload": NAME,
        "weights": {"alpha": alpha, "beta": beta, "gamma": gamma},
        "deadline_s": low * (high / low) ** rng.random() if rng.random() < 0.5 else None,
        "budget_usd": cheap * (dear / cheap) ** rng.random() if rng.random() < 0.5 else None,
    }


def slider(port: int) -> dict[str, float]:
    client, rng = Client(port), random.Random(0)
    began = time.perf_counter()
    space = client.ask("POST", "space", {"workload": NAME})
    first_s = time.perf_counter() - began
    spent = []
    for _ in range(SLIDES):
        asked = wishes(rng, space)
        began = time.perf_counter()
        client.ask("POST", "replan", asked)
        spent.append(1e3 * (time.perf_counter() - began))
    assert not client.errors, client.errors
    spent.sort()
    return {
        "candidates": space["candidates"],
        "first_s": first_s,
        "median_ms": statistics.median(spent),
        "p95_ms": spent[int(0.95 * len(spent))],
        "worst_ms": spent[-1],
    }


def load(port: int, clients: int, seconds: float) -> tuple[dict[str, Any], list[str]]:
    space = Client(port).ask("POST", "space", {"workload": NAME})
    users = [Client(port) for _ in range(clients)]
    accepted: list[str] = []
    waits: list[float] = []
    end = time.monotonic() + seconds

    def use(number: int) -> None:
        client, rng, turn = users[number], random.Random(number), 0
        while time.monotonic() < end:
            turn += 1
            began = time.perf_counter()
            client.ask("POST", "replan", wishes(rng, space))
            waits.append(1e3 * (time.perf_counter() - began))
            client.ask("GET", "jobs?limit=20")
            if turn == 2:
                asked = {"workloads": [NAME], "budget_usd": 1.0 + number}
                job = client.ask("POST", "plans", asked, expected=202)
                if job:
                    accepted.append(job["id"])
            for one in client.ask("GET", "plans") or []:
                if rng.random() < 0.05:
                    client.ask("GET", f"plans/{one['name']}")
            time.sleep(rng.random() / 10)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [error for user in users for error in user.errors]
    figures = {
        "clients": clients,
        "seconds": seconds,
        "answers": sum(user.answers for user in users),
        "errors": len(errors),
        "first_errors": errors[:5],
        "jobs_accepted": len(accepted),
        "replan_median_ms": statistics.median(waits),
    }
    return figures, accepted


def killed(folder: Path, workers: int, accepted: list[str]) -> dict[str, Any]:
    """A new service takes up what the killed one had accepted; how it all ended."""
    process, port = start(folder, workers)
    client, end = Client(port), time.monotonic() + PATIENCE_S
    torn, states = 0, dict[str, int]()
    while time.monotonic() < end:
        for one in client.ask("GET", "plans") or []:
            if client.ask("GET", f"plans/{one['name']}") is None:
                torn += 1
        found = [client.ask("GET", f"jobs/{job}") for job in accepted]
        states = {}
        for job in found:
            state = "lost" if job is None else str(job["state"])
            states[state] = states.get(state, 0) + 1
        if not states.keys() & {"queued", "running"}:
            break
        time.sleep(2)
    again = sum(1 for job in found if job and job["attempts"] > 1)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    return {"accepted": len(accepted), "states": states, "begun_again": again, "torn_plans": torn}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isocost-serving-") as room:
        folder = Path(room)
        (folder / NAME).write_bytes((ROOT / "examples" / NAME).read_bytes())
        process, port = start(folder, given.workers)
        moved = slider(port)
        print(
            f"slider: {moved['candidates']:,.0f} candidates priced in {moved['first_s']:.1f} s; then "
            f"{moved['median_ms']:.0f} ms median, {moved['p95_ms']:.0f} ms 19 times in 20, "
            f"{moved['worst_ms']:.0f} ms at worst",
            flush=True,
        )
        loaded, accepted = load(port, given.clients, given.seconds)
        print(
            f"load: {loaded['clients']} clients for {loaded['seconds']:g} s: {loaded['answers']:,} "
            f"answers, {loaded['errors']} errors, {loaded['jobs_accepted']} jobs accepted, re-planned "
            f"in {loaded['replan_median_ms']:.0f} ms median",
            flush=True,
        )
        for error in loaded["first_errors"]:
            print(f"  {error}")
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = killed(folder, given.workers, accepted)
        print(
            f"killed: {after['accepted']} accepted jobs ended {after['states']}, of which "
            f"{after['begun_again']} were begun again; {after['torn_plans']} torn plans served"
        )
    if given.output:
        figures = {"slider": moved, "load": loaded, "killed": after}
        given.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
