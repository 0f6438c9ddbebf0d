"""isocost run --dry-run on a cluster or cloud, isocost manifest check, and SkyPilot's own loader."""

import csv
import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isocost.cli.app import app
from isocost.execution.engines import ELSEWHERE
from isocost.execution.manifests import text

from .conftest import EXAMPLE, ROOT, command_line, environment
from .orders import IMAGE, OFFERS, order

# Another Python, for SkyPilot wants other versions of what we need: `make skypilot`.
SKYPILOT = Path(os.environ.get("ISOCOST_SKYPILOT_PYTHON", ROOT / ".venv-skypilot/bin/python"))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's plan, quickest first, on accelerators."""
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    words = ["optimize", str(EXAMPLE), "--alpha", "1", "--offers", "accelerator <> 'CPU'"]
    made = CliRunner().invoke(app, [*words, "-o", str(path)], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    return path


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_a_dry_run_prints_a_manifest_that_passes_the_check(
    engine: str, plan: Path, tmp_path: Path
) -> None:
    run = CliRunner()
    words = [
        "run",
        str(plan),
        "--engine",
        engine,
        "--image",
        IMAGE,
        "--claim",
        "d-claim",
        "--dry-run",
    ]
    shown = run.invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 0, shown.stderr
    assert IMAGE in shown.stdout
    assert "It ends after" in shown.stderr
    file = tmp_path / "manifest.yaml"
    file.write_text(shown.stdout, encoding="utf-8")
    checked = run.invoke(app, ["manifest", "check", str(file), "--plan", str(plan)])
    assert checked.exit_code == 0, checked.output
    assert run.invoke(app, words, catch_exceptions=False).stdout == shown.stdout
    as_json = run.invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(as_json.stdout)


def test_a_dry_run_without_an_image_shows_where_it_goes_and_the_check_refuses_it(
    plan: Path, tmp_path: Path
) -> None:
    words: list[str | Path] = ["run", plan, "--engine", "jobset", "--dry-run"]
    check: list[str | Path] = ["manifest", "check", "-"]
    shown, checked = (
        subprocess.Popen(
            command_line(given),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(tmp_path) | {"ISOCOST_IMAGE": ""},
            cwd=tmp_path,
            text=True,
        )
        for given in (words, check)
    )
    manifest, notes = shown.communicate(timeout=120)
    out, err = checked.communicate(manifest, timeout=120)
    assert shown.returncode == 0, notes
    assert "No --image is named" in notes
    assert checked.returncode == 2
    assert "standard input: " in out
    assert "give --image NAME@sha256:" in out
    assert "a mistake in standard input" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--engine", "kubernets"], "did you mean 'kubernetes'"),
        (["--engine", "jobset", "--image", "isocost:latest", "--dry-run"], "has no digest"),
        (["--engine", "jobset", "--workers", "2", "--dry-run"], "--workers: not for --engine"),
        (["--engine", "jobset"], "no image is named"),
        (["--engine", "skypilot", "--image", IMAGE], "sky jobs launch"),
        (["--engine", "ack", "--job", "other", "--dry-run"], "no job 'other'"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_a_sentence(
    words: list[str], sentence: str, plan: Path
) -> None:
    refused = CliRunner().invoke(app, ["run", str(plan), *words])
    assert refused.exit_code != 0
    assert sentence in str(refused.exception)


def test_a_plan_without_an_offer_of_alibaba_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    words = ["optimize", str(EXAMPLE), "--offers", "provider = 'aws'", "-o", str(path)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    refused = CliRunner().invoke(app, ["run", str(path), "--engine", "pai-dlc", "--dry-run"])
    assert "plan with --offers \"provider = 'alibaba'\"" in str(refused.exception)


# -- SkyPilot's own loader ---------------------------------------------------------------------

SKY_OFFERS = [name for name, offer in OFFERS.items() if offer[0] in ("aws", "gcp", "azure")]


@cache
def skypilot() -> bool:
    if not SKYPILOT.exists():
        return False
    tried = subprocess.run([SKYPILOT, "-c", "import sky"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.long
def test_skypilots_own_loader_takes_the_tasks_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    if not skypilot():
        pytest.skip(f"no SkyPilot in {SKYPILOT}; make skypilot, or set ISOCOST_SKYPILOT_PYTHON")
    rows, files = [], []
    for number, name in enumerate(SKY_OFFERS):
        made = order(name, 2)
        written = text("skypilot", made)
        path = tmp_path / f"task-{number}.yaml"
        path.write_text(written, encoding="utf-8")
        files.append(path)
        rows += _rows(name)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(files[0].read_text(encoding="utf-8").replace("num_nodes", "nodes_num"))
    catalog = tmp_path / "catalog.csv"
    with catalog.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = subprocess.run(
        [SKYPILOT, ROOT / "tests/sky_loader.py", catalog, *files, wrong],
        env={**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *loaded, refused = json.loads(done.stdout.splitlines()[-1])
    for name, one in zip(SKY_OFFERS, loaded, strict=True):
        provider, region, instance_type, _, count, *_ = OFFERS[name]
        assert "refused" not in one, (name, one)
        assert (one["cloud"], one["region"], one["nodes"]) == (provider, region, 2)
        assert one["use_spot"] is False
        assert one["envs"] == ["ISOCOST_WORK"]
        if name.startswith("TPU"):
            assert one["accelerators"] == {instance_type: 1}
        else:
            assert one["instance_type"] == instance_type.split("+")[0]
            assert list((one["accelerators"] or {}).values()) == (
                [count] if "CPU" not in name else []
            )
    assert "nodes_num" in refused["refused"]


def _rows(name: str) -> list[dict[str, object]]:
    """What SkyPilot's catalog says of an offer: a host, and on Google Cloud its accelerator apart."""
    from isocost.execution.manifests.sky import sky_task

    provider, region, _, _, count, vcpus, memory, *_ = OFFERS[name]
    resources = sky_task(order(name, 2), "")["resources"]
    accelerator = next(iter(resources.get("accelerators", {})), "")
    host = {"cloud": provider, "region": region, "vcpus": vcpus, "memory": memory}
    apart = provider == "gcp" and "+" in OFFERS[name][2]
    tpu = name.startswith("TPU")
    rows: list[dict[str, object]] = []
    if not tpu:
        given = ("", "") if apart or not accelerator else (accelerator, count)
        rows.append(
            host
            | {"instance_type": resources["instance_type"]}
            | {"accelerator": given[0], "count": given[1]}
        )
    if tpu or apart:
        rows.append(
            {"cloud": provider, "region": region, "vcpus": "", "memory": "", "instance_type": ""}
            | {"accelerator": accelerator, "count": 1 if tpu else count}
        )
    return rows
