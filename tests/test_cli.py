"""The command line: what it prints, what it refuses, and that it leaves nothing half-written."""

import json
import os
from pathlib import Path

import pytest

from isocost.catalog.files import write_whole
from isocost.profiles.records import Profile

from .conftest import EXAMPLE, Command, document


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_optimize_json_is_one_document_and_nothing_else(isocost: Command, tmp_path: Path) -> None:
    done = isocost("optimize", EXAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    plan = document(done.stdout)
    assert plan["schema"] == "isocost/plan/v1"
    assert set(plan["weights"]) == {"alpha", "beta", "gamma"}  # type: ignore[call-overload]
    job = plan["jobs"][0]  # type: ignore[index]
    for one in (job["chosen"], job["runnable_here"], *job["frontier"]):
        assert {"provider", "region", "instance_type", "accelerator", "accelerator_count"} <= set(
            one["offer"]
        )
        assert {"purchase", "nodes", "per_device_batch", "knobs", "basis"} <= set(one)
        assert {"mean", "p50", "p90"} <= set(one["predicted"]["time_s"])
        assert {"mean", "p50", "p90"} <= set(one["predicted"]["cost_usd"])
        assert 0 <= one["predicted"]["flexibility"] <= 1
        assert set(one["losses"]) == {"performance", "cost", "flexibility", "total"}
        assert one["basis"] == "transferred"  # nothing was measured
    assert {"name", "status", "gap", "candidates", "columns", "build_s", "solve_s"} <= set(
        plan["solver"]  # type: ignore[call-overload]
    )
    assert files(tmp_path) == set()


@pytest.mark.parametrize("folder", ["out", ".", "jobs"])
def test_the_latest_profile_is_found_and_named(
    folder: str, isocost: Command, tmp_path: Path, profile: Profile
) -> None:
    """Beside the output, where one stands, or beside the workload."""
    for each in ("out", "jobs"):
        (tmp_path / each).mkdir()
    workload = tmp_path / "jobs" / EXAMPLE.name
    workload.write_bytes(EXAMPLE.read_bytes())
    profile.write(tmp_path / folder / "profile-x.json")
    done = isocost("optimize", workload, "-o", "out/plan.json")
    assert done.returncode == 0, done.stderr
    (job,) = json.loads((tmp_path / "out" / "plan.json").read_text(encoding="utf-8"))["jobs"]
    assert job["profile"] == str((tmp_path / folder / "profile-x.json").resolve())
    # Measured, or between measured batches: never transferred once a profile is found.
    assert job["runnable_here"]["basis"] in ("measured", "fitted")
    assert f"({job['chosen']['basis']})" in done.stdout


def test_plan_simulate_and_report(isocost: Command, tmp_path: Path) -> None:
    assert isocost("optimize", EXAMPLE).returncode == 0
    done = isocost("simulate", "plan.json", "--replications", "200", "--json")
    assert done.returncode == 0, done.stderr
    found = document(done.stdout)
    assert found["replications"] == 200
    for name in ("finish_s", "cost_usd"):
        assert {"mean", "p50", "p90", "mean_ci95"} <= set(found[name])  # type: ignore[call-overload]
    assert 0 <= found["p_deadline"] <= 1  # type: ignore[operator]
    assert 0 <= found["p_budget"] <= 1  # type: ignore[operator]
    again = isocost("simulate", "plan.json", "--replications", "200", "--json")
    assert document(again.stdout)["finish_s"] == found["finish_s"]
    assert isocost("simulate", "plan.json", "--replications", "50").returncode == 0
    done = isocost("report", "plan.json", "simulation.json", "-o", "page.html")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {"plan.json", "simulation.json", "page.html"}
    assert "cifar10-cnn" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimize", EXAMPLE],
        ["catalog", "show"],
        ["catalog", "show", "accelerator = 'A100-80GB'"],
        ["--help"],
        *([command, "--help"] for command in ("profile", "optimize", "simulate", "run", "report")),
    ],
)
def test_everything_fits_eighty_columns(arguments: list[str | Path], isocost: Command) -> None:
    done = isocost(*arguments)
    assert done.returncode == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if "  " in line.strip()]
    assert tables
    assert all(len(line.rstrip()) <= 80 for line in tables)
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize("command", ["profile", "optimize", "--help"])
def test_every_command_has_an_example(command: str, isocost: Command) -> None:
    done = isocost(*([command, "--help"] if command != "--help" else ["--help"]))
    assert "isocost" in done.stdout


# Bad input: one sentence, exit code 2, nothing written


def workload_with(change: tuple[str, str]) -> bytes:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert change[0] in text
    return text.replace(*change).encode()


BAD_WORKLOADS: dict[str, tuple[bytes | None, str]] = {
    "missing file": (None, "does not exist"),
    "empty file": (b"", "is empty"),
    "binary garbage": (os.urandom(64) + b"\xff\xfe\x00", "is not text"),
    "a list": (b"- 1\n- 2\n", "holds a list"),
    "broken YAML": (b"a: [1\nb: 2", "not valid YAML at line"),
    "a Python tag": (b"a: !!python/object/apply:os.system ['true']", "only plain YAML"),
    "unknown key": (workload_with(("epochs:", "epoch:")), "'epoch'; did you mean 'epochs'?"),
    "unknown inner key": (workload_with(("budget_usd", "budget")), "did you mean 'budget_usd'?"),
    "missing key": (workload_with(("name: cifar10-cnn", "")), "'name' is missing"),
    "misspelt model": (workload_with(("model: cifar10_cnn", "model: cifar_cnn")), "cifar10_cnn"),
    "misspelt accelerator": (
        workload_with(("  budget_usd: 5", "  accelerators: [A100-80G]")),
        "did you mean 'A100-80GB'?",
    ),
    "misspelt provider": (
        workload_with(("  budget_usd: 5", "  providers: [asw]")),
        "did you mean 'aws'?",
    ),
    "negative budget": (workload_with(("budget_usd: 5", "budget_usd: -5")), "-5"),
    "no duration": (workload_with(("deadline_s: 1h", "deadline_s: soon")), "no duration"),
    "infinite": (workload_with(("budget_usd: 5", "budget_usd: .inf")), "inf"),
    "not a number": (workload_with(("epochs: 10", "epochs: .nan")), "epochs"),
    "zero weights": (
        workload_with(("{alpha: 0.4, beta: 0.4, gamma: 0.2}", "{alpha: 0, beta: 0, gamma: 0}")),
        "all 0",
    ),
    "wrong schema": (workload_with(("workload/v1", "workload/v9")), "schema"),
    "text for a number": (workload_with(("epochs: 10", "epochs: ten")), "epochs is 'ten'"),
}


# Profiling needs no offer, so it does not look at the names of offers.
ONLY_PLANNED = {"misspelt accelerator", "misspelt provider"}


@pytest.mark.parametrize(
    ("command", "case"),
    [("optimize", case) for case in BAD_WORKLOADS]
    + [("profile", case) for case in BAD_WORKLOADS if case not in ONLY_PLANNED],
)
def test_a_bad_workload_is_one_sentence(
    case: str, command: str, isocost: Command, tmp_path: Path
) -> None:
    content, words = BAD_WORKLOADS[case]
    if content is not None:
        (tmp_path / "bad.yaml").write_bytes(content)
    before = files(tmp_path)
    done = isocost(command, "bad.yaml")
    refused_in_a_sentence(done.returncode, done.stdout, done.stderr, words)
    assert files(tmp_path) == before


def refused_in_a_sentence(code: int, out: str, err: str, words: str) -> None:
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    assert words in err, err


@pytest.mark.parametrize("command", ["run", "simulate", "report"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", ""),
        (b"\x80\x81", "is not text"),
        (b"{}", ""),
        (b'{"schema": "isocost/plan/v1"}', ""),
        (b'{"schema": "isocost/plan/v1", "jobs": [', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_bad_document_is_one_sentence(
    command: str, content: bytes | None, words: str, isocost: Command, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content)
    before = files(tmp_path)
    done = isocost(command, "bad.json")
    refused_in_a_sentence(done.returncode, done.stdout, done.stderr, words)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optimize", EXAMPLE, "--local-price", "-1"], "-1"),
        (["optimize", EXAMPLE, "--local-price", "nan"], "nan"),
        (["optimize", EXAMPLE, "--offers", "provder = 'aws'"], "did you mean 'provider'?"),
        (["optimize", EXAMPLE, "--offers", "accelerator = 'T44'"], "did you mean 'T4'?"),
        (["optimize", EXAMPLE, "--offers", "this is no SQL ("], "SQL"),
        (["optimize", EXAMPLE, "--deadline", "soon"], "no duration"),
        (["optimize", EXAMPLE, "--deadline", "0s"], "deadline_s"),
        (["optimize", EXAMPLE, "--alpha", "0"], "all 0"),
        (["optimize", EXAMPLE, "--profile", "absent.json"], "does not exist"),
        (["catalog", "show", "--accelerator", "H1000"], "did you mean 'H100'?"),
        (["catalog", "show", "--sort", "prize"], "--sort"),
        (["catalog", "show", "spot_usd_h < "], "SQL"),
    ],
)
def test_a_bad_option_is_one_sentence(
    arguments: list[str | Path], words: str, isocost: Command, tmp_path: Path
) -> None:
    done = isocost(*arguments)
    refused_in_a_sentence(done.returncode, done.stdout, done.stderr, words)
    assert files(tmp_path) == set()


def test_an_unknown_engine_is_refused(isocost: Command, tmp_path: Path) -> None:
    assert isocost("optimize", EXAMPLE).returncode == 0
    done = isocost("run", "plan.json", "--engine", "locale")
    refused_in_a_sentence(done.returncode, done.stdout, done.stderr, "did you mean 'local'?")


def test_infeasible_is_exit_code_3_with_the_relaxation(isocost: Command, tmp_path: Path) -> None:
    done = isocost("optimize", EXAMPLE, "--deadline", "2s")
    assert done.returncode == 3
    assert "a deadline of" in done.stderr
    assert files(tmp_path) == set()


def test_infeasible_as_json_is_one_document_with_what_would_do(
    isocost: Command, tmp_path: Path
) -> None:
    done = isocost("optimize", EXAMPLE, "--deadline", "2s", "--catalog", "built-in", "--json")
    assert done.returncode == 3
    refusal = document(done.stdout)
    assert refusal["schema"] == "isocost/no-plan/v1"
    assert isinstance(refusal["message"], str)
    assert refusal["message"] in done.stderr
    first = refusal["relaxations"][0]  # type: ignore[index]
    enough = f"{first['changes']['deadline_s']}s"
    assert isocost("optimize", EXAMPLE, "--deadline", enough, "--json").returncode == 0


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file.txt"
    write_whole(path, "first")
    write_whole(path, "second")
    assert path.read_text(encoding="utf-8") == "second"
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "second"
    assert files(tmp_path) == {"a/file.txt"}
