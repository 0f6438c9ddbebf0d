"""isocost init: what a Keras script would train, as a workload that profile accepts unchanged."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from isocost.catalog.files import InputError
from isocost.profiles import starting
from isocost.profiles.capture import Captured
from isocost.profiles.records import Profile
from isocost.profiles.workload import ModelFacts, Workload, read_workload

from .conftest import Command

SCRIPTS = Path(__file__).parent / "scripts"
FACTS = ModelFacts(
    parameters=10,
    gradient_bytes=40,
    flops_per_sample=1e6,
    bytes_per_sample=1e4,
    checkpoint_bytes=120,
)


def caught(**changes: object) -> Captured:
    content: dict[str, object] = {
        "model": "net",
        "kind": "functional",
        "optimizer": "Adam",
        "loss": "mse",
        "precision": "float32",
        "batch": 32,
        "epochs": 3,
        "samples": 1000,
        "sure": True,
        "sample_bytes": 16,
        "data": "arrays",
        "shapes": "float32[4]",
        "notes": (),
        "facts": FACTS,
    }
    return Captured.model_validate(content | changes)


def workload_of(found: Captured, script: str = "train.py", **wishes: object) -> Workload:
    text = starting.text_of_script(
        found,
        Path(script),
        starting.Wishes(**wishes),  # type: ignore[arg-type]
        schema="/data/workload.json",
        next_step="isocost profile",
    )
    assert text.startswith("# yaml-language-server: $schema=/data/workload.json\n")
    return starting.check_text(text, script)


# What a script says becomes a workload


@pytest.mark.parametrize("samples", [1, 2, 33, 65, 1000, 10**9])
@pytest.mark.parametrize("batch", [1, 7, 32, 4096])
def test_no_batch_is_larger_than_the_data(samples: int, batch: int) -> None:
    made = workload_of(caught(samples=samples, batch=batch))
    assert max(made.per_device_batch) <= samples
    assert made.reference_batch <= made.max_global_batch <= max(samples, 8 * batch)
    assert made.samples_per_epoch == samples


@pytest.mark.parametrize(
    "name", ["a: b", "#x", "'", '"', "null", "on", "1e3", "ünï 🚀", "a\u202eb", "-", "x" * 200]
)
def test_any_name_is_read_back_as_it_was(name: str) -> None:
    assert workload_of(caught(), name=name).name == name


def test_text_of_the_script_stays_within_its_comment() -> None:
    made = workload_of(
        caught(model="a\nmodel: b", loss="x\u2028y: z", shapes='"""\n\\', notes=("a\nb: c",))
    )
    assert made.model == "train_isocost:make"


def test_wishes_and_facts_are_kept() -> None:
    made = workload_of(caught(), deadline="6h", budget_usd=40.0, location="aws:us-east-1")
    assert made.constraints.deadline_s == 21_600
    assert made.constraints.budget_usd == 40
    assert made.data.location == "aws:us-east-1"
    assert made.data.bytes == 16_000
    assert made.facts == FACTS


def test_a_wish_that_is_none_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InputError, match="no duration"):
        workload_of(caught(), deadline="soon")


def test_answers_become_a_workload(isocost: Command, tmp_path: Path) -> None:
    done = isocost("init", "--model", "resnet50", "--samples", "1281167", "--epochs", "90")
    assert done.returncode == 0, done.stderr
    made = read_workload(tmp_path / "workload.yaml")
    assert (made.model, made.samples_per_epoch, made.epochs) == ("resnet50", 1_281_167, 90)
    first = (tmp_path / "workload.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(Path(first.partition("$schema=")[2]).read_text(encoding="utf-8"))
    again = isocost("init")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert isocost("optimize", "workload.yaml", "--json").returncode == 0


# Scripts that are run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        pytest.param(
            "image_functional.py",
            ["--", "--width", "8", "--epochs", "7"],
            {"samples_per_epoch": 900, "epochs": 7, "reference_batch": 64},
            marks=pytest.mark.long,
        ),
        pytest.param(
            "text_sequential.py",
            [],
            {"samples_per_epoch": 512, "epochs": 2, "reference_batch": 16},
            marks=pytest.mark.long,
        ),
        (
            "recommender/train.py",
            [],
            {"samples_per_epoch": 800, "epochs": 4, "reference_batch": 32},
        ),
    ],
)
def test_profile_accepts_what_init_writes(
    script: str,
    arguments: list[str],
    expected: dict[str, object],
    isocost: Command,
    tmp_path: Path,
) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "jobs")
    place = tmp_path / "jobs" / script
    done = isocost("init", place, *arguments)
    assert done.returncode == 0, done.stderr
    path = place.with_suffix(".yaml")
    made = read_workload(path)
    assert expected.items() <= made.model_dump().items()
    assert made.facts is not None
    before = path.read_bytes()
    measured = isocost("profile", path, "--max-seconds", "6", "--workers", "1", "--json")
    assert measured.returncode == 0, measured.stderr
    profile = Profile.parse(json.loads(measured.stdout), script)
    assert profile.measurements
    assert profile.facts.parameters == made.facts.parameters
    assert path.read_bytes() == before


SCRIPT = """
import keras, numpy as np
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x, y = np.zeros((64, 4)), np.zeros((64, 1))
{end}
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("", "ended without calling fit"),
        ("raise ValueError('no such\\ncolumn')", "train.py line 6 (<module>) raised ValueError"),
        ("import sys; sys.exit(3)", "ended by itself (3)"),
        ("import no_such_package", "needs no_such_package, which is not installed"),
        ("input('name? ')", "waits for input"),
        (
            "from urllib.error import URLError\nraise Exception('URL fetch failure') from URLError('x')",
            "cannot be downloaded here",
        ),
        ("model.fit(x)", "without y"),
        ("keras.Sequential([keras.layers.Dense(1)]).fit(x, y)", "not compiled"),
        ("model.fit(x, y * np.nan)", None),
    ],
)
def test_a_script_that_cannot_be_used_gets_a_sentence(
    end: str, words: str | None, isocost: Command, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.format(end=end), encoding="utf-8")
    done = isocost("init", "train.py")
    if words is None:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "train.yaml").exists()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("train.py", None, "does not exist"),
        ("train.py", "def (", "no Python program at line 1"),
        ("train.ipynb", "{}", "nbconvert"),
        ("train.py", "x = 1\0", "no Python program"),
    ],
)
def test_what_is_no_script_is_refused_at_once(
    name: str, text: str | None, words: str, isocost: Command, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = isocost("init", name)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_adapter_names_its_script_wherever_both_lie(tmp_path: Path) -> None:
    script = tmp_path / 'a "b"' / "train.py"
    script.parent.mkdir()
    for folder in (script.parent, tmp_path):
        module = folder / "train_isocost.py"
        text = starting.adapter_text(script, ['--x="\n"'], 2, folder)
        module.write_text(text, encoding="utf-8")
        made = runpy.run_path(str(module))
        assert made["SCRIPT"].resolve() == script.resolve()
        assert made["ARGUMENTS"] == ['--x="\n"']
        assert made["FIT"] == 2
