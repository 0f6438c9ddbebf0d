"""The live view: nothing accepted is lost, nothing half-written is served, nothing else is reached."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from isocost.catalog.files import InputError
from isocost.execution.record import Run
from isocost.optimizer.plan import Plan
from isocost.service.audit import Audit
from isocost.service.dispatch import Dispatcher
from isocost.service.folder import Folder
from isocost.service.guard import Bucket, Refused, page_signature
from isocost.service.jobs import JobStore, QueueFull

from .conftest import EXAMPLE, Command, command_line, environment, recorded_profile
from .test_execution import orphans

TOKEN = "a-token-of-the-tests-0123456789"
PATIENCE_S = 240.0
# More than this machine is best at something.
LARGE = """
schema: isocost/workload/v1
name: large
model: resnet50
samples_per_epoch: 1281167
epochs: 20
"""


# ------------------------------------------------------------------------- names and the queue


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path)
    try:
        path = folder.path(name)
    except InputError:
        return
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert folder.name(path) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "/",
            "..",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a//b",
            ".isocost/jobs.sqlite3",
            "a/.b",
        ),
        *("a\\..\\b", "a\0b", "out/secret.json", "loop", "x" * 500, "a\nb"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret.json").write_text("{}", encoding="utf-8")
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(InputError):
        Folder(root).path(name)


def test_documents_are_found_by_what_they_say_they_are(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    for path in (outside, root / "jobs", root / ".hidden"):
        path.mkdir(parents=True)
    text = EXAMPLE.read_text(encoding="utf-8")
    for path in (root / "a.yaml", root / "jobs" / "b.yml", root / ".hidden" / "c.yaml"):
        path.write_text(text, encoding="utf-8")
    (outside / "d.yaml").write_text(text, encoding="utf-8")
    (root / "linked").symlink_to(outside)
    (root / "linked.yaml").symlink_to(outside / "d.yaml")
    (root / "no.json").write_text("[" * 100_000, encoding="utf-8")
    (root / ".isocost-part.json").write_text('{"schema": "isocost/workload/v1"}', encoding="utf-8")
    folder = Folder(root)
    found = {one.name for one in folder.documents("isocost/workload/v1")}
    assert found == {"a.yaml", "jobs/b.yml"}
    (root / "a.yaml").write_text("schema: other", encoding="utf-8")
    assert {one.name for one in folder.documents("isocost/workload/v1")} == {"jobs/b.yml"}


def test_what_is_accepted_outlives_the_service(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    first, second = (store.add("plan", {"n": n}) for n in (1, 2))
    assert store.claim() == store.get(first.id)
    # The service is killed here: another opens the same file.
    again = JobStore(tmp_path / "jobs.sqlite3")
    assert [one.id for one in again.take_up_again()] == [first.id]
    claimed = [again.claim(), again.claim(), again.claim()]
    assert [one and one.id for one in claimed] == [first.id, second.id, None]
    assert claimed[0] is not None
    assert claimed[0].attempts == 2
    again.finished(first.id, "plans/x.json")
    again.failed(first.id, "too late")
    assert not again.cancel(first.id)
    done = again.get(first.id)
    assert done is not None
    assert (done.state, done.result, done.error) == ("done", "plans/x.json", None)
    assert again.cancel(second.id)
    assert again.counts() == {"done": 1, "cancelled": 1}


def test_the_same_key_is_the_same_job_and_a_full_queue_says_so(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    one = store.add("plan", {}, key="k", most=1)
    assert store.add("plan", {}, key="k", most=1).id == one.id
    with pytest.raises(QueueFull, match="1 jobs wait"):
        store.add("plan", {}, most=1)


def test_requests_above_the_rate_wait_and_then_are_refused() -> None:
    bucket = Bucket(100.0)
    waits = [bucket.wait_s() for _ in range(290)]
    with pytest.raises(Refused, match="100 requests a second"):
        [bucket.wait_s() for _ in range(100)]
    # A second's worth at once, then each its turn, up to two seconds ahead.
    assert waits[:99] == [0.0] * 99
    assert 1.7 < max(waits) <= 2.0


# ------------------------------------------------------------------------------- a whole service


class Service:
    """One `isocost serve` in a process of its own."""

    def __init__(self, folder: Path, home: Path, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            command_line(["serve", folder, "--port", "0", "--json", *options]),
            env={**environment(home), "ISOCOST_TOKEN": TOKEN},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())
        self.address = json.loads(line)["address"]
        self.port = json.loads(line)["port"]
        assert json.loads(line)["token"] == TOKEN

    def client(self, **more: object) -> httpx.Client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=120, **more)  # type: ignore[arg-type]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def audit(self) -> list[dict[str, object]]:
        text = (self.folder / ".isocost" / "audit.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@contextmanager
def serving(folder: Path, home: Path, *options: str) -> Iterator[Service]:
    folder.mkdir(exist_ok=True)
    service = Service(folder, home, *options)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.kill()
        for pipe in (service.process.stdout, service.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("served")
    (root / "cifar10.yaml").write_bytes(EXAMPLE.read_bytes())
    (root / "large.yaml").write_text(LARGE, encoding="utf-8")
    (root / "bad.yaml").write_text("schema: isocost/workload/v1\nnam: x\n", encoding="utf-8")
    (root.parent / "secret.json").write_text("{}", encoding="utf-8")
    with serving(root, tmp_path_factory.mktemp("home")) as one:
        yield one


def until(
    client: httpx.Client, job: str, reached: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found: dict[str, Any] = client.get(f"api/v1/jobs/{job}").json()
        if reached(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain; {job} is {found}")


def wait_for(client: httpx.Client, job: str, *states: str) -> dict[str, Any]:
    return until(client, job, lambda found: found["state"] in states)


def post(
    client: httpx.Client, what: str, asked: dict[str, Any], headers: dict[str, str] | None = None
) -> str:
    """The job that is accepted for it."""
    answer = client.post(f"api/v1/{what}", json=asked, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


ENDED = ("done", "failed", "cancelled")


def test_a_workload_is_planned_rehearsed_and_shown(service: Service) -> None:
    with service.client() as client:
        listed = {one["name"]: one for one in client.get("api/v1/workloads").json()}
        assert set(listed) == {"cifar10.yaml", "large.yaml", "bad.yaml"}
        assert listed["cifar10.yaml"]["title"] == "cifar10-cnn"
        assert "did you mean 'name'?" in listed["bad.yaml"]["error"]
        asked = {"workloads": ["cifar10.yaml"], "budget_usd": 3, "explain": True}
        answer = client.post("api/v1/plans", json=asked)
        assert answer.status_code == 202, answer.text
        job = wait_for(client, answer.json()["id"], *ENDED)
        assert job["state"] == "done", job
        name = str(job["result"])
        plan = Plan.read(service.folder / name)
        assert plan.jobs[0].workload.constraints.budget_usd == 3
        assert client.get(f"api/v1/plans/{name}").json() == json.loads(plan.to_json())
        entry = next(one for one in client.get("api/v1/plans").json() if one["name"] == name)
        rehearsal = {"plan": name, "replications": 20}
        simulated = client.post("api/v1/simulations", json=rehearsal).json()
        ended = wait_for(client, simulated["id"], *ENDED)
        assert ended["state"] == "done", ended
        # A link to a page needs no token, and opens nothing else.
        page = httpx.get(service.address + entry["page"].lstrip("/"))
        assert page.status_code == 200
        assert "cifar10-cnn" in page.text
        other = entry["page"].replace(name, str(ended["result"]))
        assert httpx.get(service.address + other.lstrip("/")).status_code == 401
    said = [str(line["what"]) for line in service.audit()]
    assert f"job {job['id']}" in said
    assert "POST /api/v1/plans" in said
    assert TOKEN not in (service.folder / ".isocost" / "audit.jsonl").read_text(encoding="utf-8")


def test_a_slider_has_its_plan_at_once(service: Service) -> None:
    with service.client() as client:
        space = client.post("api/v1/space", json={"workload": "large.yaml"}).json()
        assert len(space["others"]["labels"]) == len(space["others"]["time_s"]) > 100
        asked: dict[str, object] = {
            "workload": "large.yaml",
            "weights": {"alpha": 1, "beta": 0, "gamma": 0},
        }
        quick = client.post("api/v1/replan", json=asked).json()
        asked["weights"] = {"alpha": 0, "beta": 1, "gamma": 0}
        cheap = client.post("api/v1/replan", json=asked).json()
        fast, frugal = (one["chosen"]["predicted"] for one in (quick, cheap))
        assert fast["time_s"]["p90"] < frugal["time_s"]["p90"]
        assert fast["cost_usd"]["mean"] > frugal["cost_usd"]["mean"]
        none = client.post("api/v1/replan", json=asked | {"deadline_s": 0.001}).json()
        assert none["chosen"] is None
        assert "a deadline of" in none["infeasible"]


def test_a_workload_that_is_put_is_there_and_written_over_only_when_told(service: Service) -> None:
    content = json.loads(example_json())
    with service.client() as client:
        assert client.put("api/v1/workloads/new/job.json", json=content).status_code == 201
        assert client.get("api/v1/workloads/new/job.json").json()["name"] == "cifar10-cnn"
        again = client.put("api/v1/workloads/new/job.json", json=content)
        assert again.status_code == 409
        assert "replace=true" in again.json()["error"]
        told = client.put("api/v1/workloads/new/job.json?replace=true", json=content)
        assert told.status_code == 201
    (service.folder / "new" / "job.json").unlink()


def example_json() -> str:
    from isocost.profiles.workload import read_workload

    return read_workload(EXAMPLE).to_json()


PLAN = {"workloads": ["cifar10.yaml"]}


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "words"),
    [
        ("GET", "api/v1/workloads", {"headers": {"Authorization": ""}}, 401, "token"),
        ("GET", "api/v1/plans", {"headers": {"Authorization": "Bearer x"}}, 401, "token"),
        ("POST", "api/v1/plans", {"headers": {"Authorization": ""}, "json": PLAN}, 401, "token"),
        ("POST", "api/v1/plans", {"headers": {"Authorization": f"Basic {TOKEN}"}}, 401, "token"),
        ("POST", f"api/v1/plans?token={TOKEN}", {"headers": {"Authorization": ""}}, 401, "token"),
        ("GET", "api/v1/health", {"headers": {"Host": "evil.example"}}, 403, "Host"),
        ("GET", "api/v1/health", {"headers": {"Host": "127.0.0.1:1"}}, 403, "Host"),
        ("GET", "api/v1/health", {"headers": {"Origin": "http://evil.example"}}, 403, "another site"),
        ("POST", "api/v1/plans", {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "another site"),
        ("GET", "api/v1/workloads/%2e%2e/secret.json", {}, 400, "'..'"),
        ("GET", "api/v1/workloads/..%2fsecret.json", {}, 400, "'..'"),
        ("GET", "pages/..%5csecret.json", {}, 400, "backslash"),
        ("GET", "api/v1/workloads/a%00.yaml", {}, 400, "NUL"),
        ("GET", "api/v1/workloads/%2fetc/passwd", {}, 400, "part"),
        ("GET", "api/v1/workloads/.isocost/jobs.sqlite3", {}, 422, "no name"),
        ("GET", "api/v1/workloads/absent.yaml", {}, 404, "no file"),
        ("GET", "api/v1/workloads/bad.yaml", {}, 422, "did you mean 'name'?"),
        ("GET", "api/v1/plans/cifar10.yaml", {}, 422, "schema"),
        ("GET", "api/v1/jobs/absent", {}, 404, "no job"),
        ("DELETE", "api/v1/jobs/absent", {}, 404, "no job"),
        ("GET", "api/v1/" + "x" * 3000, {}, 414, "2,000 bytes"),
        ("GET", "api/v1/nothing", {}, 404, "Not Found"),
        ("PATCH", "api/v1/plans", {}, 405, "Not Allowed"),
        ("POST", "api/v1/plans", {"content": b"x" * 300_000}, 413, "262,144 bytes"),
        ("POST", "api/v1/plans", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, ""),
        ("POST", "api/v1/plans", {"content": b"[" * 90_000, "headers": {"Content-Type": "application/json"}}, 400, ""),
        ("POST", "api/v1/plans", {"content": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}, 400, ""),
        ("POST", "api/v1/plans", {"content": json.dumps(PLAN), "headers": {"Content-Type": "text/plain"}}, 422, ""),
        ("POST", "api/v1/plans", {"json": {}}, 422, "workloads"),
        ("POST", "api/v1/plans", {"json": PLAN | {"alpha": 1}}, 422, "alpha"),
        ("POST", "api/v1/plans", {"json": PLAN | {"deadline_s": "soon"}}, 422, "no duration"),
        ("POST", "api/v1/plans", {"json": {"workloads": ["../secret.json"]}}, 422, "no name"),
        ("POST", "api/v1/plans", {"json": {"workloads": ["/etc/passwd"]}}, 422, "no name"),
        ("POST", "api/v1/plans", {"json": {"workloads": ["a\0b"]}}, 422, "no name"),
        ("POST", "api/v1/plans", {"content": '{"workloads": ["\\ud800"]}', "headers": {"Content-Type": "application/json"}}, 422, ""),
        ("POST", "api/v1/plans", {"content": '{"workloads": ["cifar10.yaml"], "budget_usd": 1e999}', "headers": {"Content-Type": "application/json"}}, 422, ""),
        ("POST", "api/v1/simulations", {"json": {"plan": "cifar10.yaml"}}, 422, "schema"),
        ("POST", "api/v1/replan", {"json": {"workload": "cifar10.yaml", "weights": {"alpha": 0, "beta": 0, "gamma": 0}}}, 422, "all 0"),
        ("PUT", "api/v1/workloads/../x.json", {"json": {}}, 404, ""),
        ("PUT", "api/v1/workloads/x.sh", {"json": json.loads(example_json())}, 422, ".json"),
    ],
)  # fmt: skip
def test_what_is_refused(
    service: Service,
    method: str,
    path: str,
    more: dict[str, object],
    status: int,
    words: str,
) -> None:
    with service.client() as client:
        answer = client.request(method, path, **more)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert "set-cookie" not in answer.headers


def raw(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(text)
        answer = b""
        while part := line.recv(65_536):
            answer += part
        return answer


@pytest.mark.parametrize(
    "path", ["/api/v1/workloads/../../secret.json", "//etc/passwd", "/pages/../../secret.json", "*"]
)
def test_a_path_as_no_client_would_send_it_is_refused(service: Service, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nConnection: close\r\n"
    answer = raw(service.port, f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 4"), answer


def test_two_hosts_are_no_host(service: Service) -> None:
    hosts = f"Host: 127.0.0.1:{service.port}\r\nHost: evil.example\r\n"
    answer = raw(service.port, f"GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 4"), answer


def test_the_page_holds_nothing_before_it_shows_the_token(service: Service) -> None:
    page = httpx.get(service.address)
    assert page.status_code == 200
    assert "cifar10" not in page.text
    assert TOKEN not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in re.sub(r"style-src-attr[^;]*", "", policy)
    assert "unsafe-eval" not in policy
    for name in ("live.js", "live.css", "plotly.js"):
        assert httpx.get(service.address + name).status_code == 200


def test_a_second_service_for_the_same_folder_is_refused(
    service: Service, isocost: Command
) -> None:
    done = isocost("serve", service.folder, "--port", "0")
    assert done.returncode == 2
    assert "another isocost serve" in done.stderr
    busy = isocost("serve", ".", "--port", str(service.port))
    assert busy.returncode == 2
    assert "--port" in busy.stderr


def test_thirty_two_clients_at_once(service: Service) -> None:
    """The short form of benchmarks/serving.py."""
    errors: list[str] = []
    accepted: list[str] = []
    begin = threading.Barrier(32)

    def use(number: int) -> None:
        begin.wait()
        with service.client() as client:
            for turn in range(3):
                answers = [
                    client.get("api/v1/jobs"),
                    client.post(
                        "api/v1/replan",
                        json={
                            "workload": "cifar10.yaml",
                            "weights": {"alpha": 1 + number, "beta": 1 + turn, "gamma": 1},
                        },
                    ),
                ]
                errors.extend(one.text for one in answers if one.status_code != 200)
            if number % 8 == 0:
                key = {"Idempotency-Key": f"client-{number}"}
                for _ in range(2):
                    answer = client.post("api/v1/plans", json=PLAN, headers=key)
                    if answer.status_code != 202:
                        errors.append(answer.text)
                    accepted.append(answer.json()["id"])

    threads = [threading.Thread(target=use, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(accepted) == 8
    assert len(set(accepted)) == 4
    with service.client() as client:
        for job in set(accepted):
            assert wait_for(client, job, *ENDED)["state"] == "done"


@pytest.mark.slow
def test_killed_during_work_nothing_accepted_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "cifar10.yaml").write_bytes(EXAMPLE.read_bytes())
    with serving(folder, tmp_path) as service, service.client() as client:
        accepted = [client.post("api/v1/plans", json=PLAN).json()["id"] for _ in range(3)]
        wait_for(client, accepted[0], "running")
        time.sleep(0.3)
        service.kill()
    with serving(folder, tmp_path) as service, service.client() as client:
        for one in client.get("api/v1/plans").json():
            Plan.read(folder / one["name"])  # whole
        for job in accepted:
            ended = wait_for(client, job, *ENDED)
            assert ended["state"] == "done", ended
            Plan.read(folder / str(ended["result"]))
        first = client.get(f"api/v1/jobs/{accepted[0]}").json()
        assert first["attempts"] == 2
        parts = [path.name for path in (folder / "plans").iterdir()]
        assert sorted(parts) == sorted(f"{job}.json" for job in accepted)
        # Asked to end, it ends in good order, and what waits is there at the next start.
        waiting = client.post("api/v1/plans", json=PLAN).json()["id"]
        wait_for(client, waiting, "running")
        service.stop()
        assert [line["outcome"] for line in service.audit()][-1] == "in good order"
    assert JobStore(folder / ".isocost" / "jobs.sqlite3").counts()["queued"] == 1


def test_a_job_that_fails_says_why_and_one_that_waits_can_be_cancelled(
    service: Service,
) -> None:
    with service.client() as client:
        impossible = PLAN | {"deadline_s": 0.001}
        failing, waiting = (
            client.post("api/v1/plans", json=asked).json()["id"] for asked in (impossible, PLAN)
        )
        cancelled = client.delete(f"api/v1/jobs/{waiting}").json()
        assert cancelled["state"] == "cancelled"
        assert client.delete(f"api/v1/jobs/{waiting}").status_code == 409
        ended = wait_for(client, failing, *ENDED)
        assert ended["state"] == "failed"
        assert "no candidate keeps every constraint" in str(ended["error"])


@pytest.mark.slow
def test_a_run_is_trained_as_a_job_and_another_is_cancelled(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "cifar10.yaml").write_bytes(EXAMPLE.read_bytes())
    recorded_profile().write(folder / "profile.json")
    with serving(folder, tmp_path) as service, service.client() as client:
        plan = str(wait_for(client, post(client, "plans", PLAN), *ENDED)["result"])
        asked = {"plan": plan, "workers": 1, "max_steps": 30, "seed": 3}
        nobody = httpx.post(service.address + "api/v1/runs", json=asked)
        assert nobody.status_code == 401
        misspelt = client.post("api/v1/runs", json=asked | {"engine": "locl"})
        assert misspelt.status_code == 422
        assert "did you mean 'local'" in misspelt.json()["error"]

        key = {"Idempotency-Key": "once"}
        short = post(client, "runs", asked, key)
        assert post(client, "runs", asked, key) == short
        ended = wait_for(client, short, *ENDED)
        assert ended["state"] == "done", ended
        name = str(ended["result"])
        made = Run.read(folder / name)
        assert (made.status, made.steps, made.workers) == ("stopped", 30, 1)
        assert (made.plan, made.engine, made.seed) == (plan, "local", 3)
        assert client.get(f"api/v1/runs/{name}").json() == json.loads(made.to_json())
        (listed,) = client.get("api/v1/runs").json()
        assert listed["name"] == name
        page = httpx.get(service.address + listed["page"].lstrip("/"))
        assert page.status_code == 200
        assert "cifar10-cnn" in page.text

        whole = post(client, "runs", {"plan": plan, "workers": 1})
        waiting = post(client, "plans", PLAN)
        begun = until(client, whole, lambda job: float(job["progress"]) > 0)
        assert begun["state"] == "running"
        assert "loss" in begun["note"]
        assert client.get(f"api/v1/jobs/{waiting}").json()["state"] == "queued"
        assert client.delete(f"api/v1/jobs/{whole}").json()["state"] == "cancelled"
        assert wait_for(client, waiting, *ENDED)["state"] == "done"
        assert client.get(f"api/v1/jobs/{whole}").json()["result"] is None
        assert not (folder / "runs" / f"{whole}.json").exists()
        assert [one.pid for one in orphans(folder)] == [service.process.pid]
    lines = service.audit()
    assert [line["outcome"] for line in lines if line["what"] == f"job {whole}"] == [
        "accepted",
        "begun",
        "cancelled",
    ]
    told = [str(line["outcome"])[:3] for line in lines if line["what"] == "POST /api/v1/runs"]
    assert told == ["401", "422", "202", "202", "202"]
    assert f"DELETE /api/v1/jobs/{whole}" in [line["what"] for line in lines]
    assert TOKEN not in (folder / ".isocost" / "audit.jsonl").read_text(encoding="utf-8")


def test_a_job_that_is_cancelled_as_it_begins_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its being claimed and its process being known nobody could end it."""
    folder = Folder(tmp_path)
    store, audit = JobStore(folder.state / "jobs.sqlite3"), Audit(folder.state / "audit.jsonl")
    dispatcher = Dispatcher(folder, store, audit, workers=1)
    job = store.add("plan", {"workloads": ["none.yaml"]})
    started = subprocess.Popen

    def cancelled_meanwhile(*arguments: Any, **more: Any) -> Any:
        assert dispatcher.cancel(job.id)
        return started([sys.executable, "-c", "import time; time.sleep(60)"], **more)

    monkeypatch.setattr("isocost.service.dispatch.subprocess.Popen", cancelled_meanwhile)
    dispatcher.start()
    deadline = time.monotonic() + 20
    while not (text := (folder.state / "audit.jsonl").read_text()).endswith('"kind": "plan"}\n'):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)
    dispatcher.stop()
    store.close()
    audit.close()
    assert json.loads(text.splitlines()[-1])["outcome"] == "cancelled"


def test_reading_may_be_opened(tmp_path: Path) -> None:
    with serving(tmp_path / "served", tmp_path, "--open-reading", "--max-queue", "1") as service:
        assert httpx.get(service.address + "api/v1/plans").status_code == 200
        assert httpx.post(service.address + "api/v1/plans", json=PLAN).status_code == 401


def test_a_signature_opens_one_page() -> None:
    assert page_signature(TOKEN, "a.json") != page_signature(TOKEN, "b.json")
    assert page_signature(TOKEN, "a.json") != page_signature(TOKEN + "x", "a.json")
    assert TOKEN not in page_signature(TOKEN, "a.json")


@pytest.fixture(scope="module")
def described(service: Service) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(service.address + "openapi.json")


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]


def test_no_request_makes_the_service_fail(described: schemathesis.BaseSchema) -> None:
    """Requests by the service's own description, and against it."""
    tried = 0
    for found in described.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=8,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(operation.as_strategy(generation_mode=mode))
            def call(case: Any) -> None:
                nonlocal tried
                tried += 1
                answer = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
                case.validate_response(answer, checks=CHECKS)

            try:
                call()
            except Unsatisfiable:
                continue  # nothing of it can be wrong
    assert tried > 100


def test_the_state_is_the_owner_s_alone(service: Service) -> None:
    for path in (service.folder / ".isocost", service.folder / ".isocost" / "audit.jsonl"):
        assert os.stat(path).st_mode & 0o077 == 0
