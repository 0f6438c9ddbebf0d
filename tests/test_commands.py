"""The command line as a whole: examples in every help, colour, closed pipes, completion, doctor."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from isocost.cli import findings
from isocost.cli.app import app

from .conftest import EXAMPLE, Command, command_line, environment


def every_command() -> list[list[str]]:
    """Each command and group as the words that call it."""
    found = []

    def visit(command: object, words: list[str]) -> None:
        found.append(words)
        for name, inner in getattr(command, "commands", {}).items():
            visit(inner, [*words, name])

    visit(typer.main.get_command(app), [])
    return found


COMMANDS = every_command()


def test_the_commands_are_those_documented() -> None:
    top = {words[0] for words in COMMANDS if words}
    assert top == {
        *("init", "profile", "optimize", "simulate", "run", "report", "serve", "catalog"),
        *("manifest", "schema", "doctor"),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_an_example_and_fits_eighty_columns(words: list[str]) -> None:
    variables = {"COLUMNS": "80", "NO_COLOR": "1", "TERMINAL_WIDTH": "80"}
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="isocost", env=variables)
    assert done.exit_code == 0, done.output
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stdout).split())
    call = " ".join(["isocost", *words])
    usual = call.removesuffix(" measure")  # may be left out
    assert text.count(usual) > 1, "no example beside the usage"
    assert all(len(line.rstrip()) <= 80 for line in done.stdout.splitlines())
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optimise", EXAMPLE], "optimize"),
        (["optimize", EXAMPLE, "--dedline", "1h"], "--deadline"),
        (["profile", "predit", "x"], "predict"),
        (["simulate", "compar", "x"], "compare"),
        (["catalog", "sho"], "show"),
        (["catalog", "show", "--provider", "asw"], "'aws'"),
        (["schema", "plam"], "'plan'"),
        (["profile", "compare", EXAMPLE, "xla=off", "xl=on"], "'xla'"),
        (["simulate", "trace.csv", "--cluster", "gpu=4", "--policy", "ffo"], "'fifo'"),
    ],
)
def test_a_misspelt_word_gets_the_nearest_one(
    arguments: list[str | Path], words: str, isocost: Command, tmp_path: Path
) -> None:
    (tmp_path / "trace.csv").write_text(
        "job_id,submit_time_s,num_gpus,duration_s\na,0,1,10\n", encoding="utf-8"
    )
    done = isocost(*arguments)
    assert done.returncode == 2
    assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["catalog", "show", "--limit", "0"], ["optimize", EXAMPLE, "--json"], ["--help"]]
)
def test_a_reader_that_leaves_early_gets_no_traceback(
    arguments: list[str | Path], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command_line(arguments),
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    process.wait(120)
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    assert "Exception ignored" not in said


WHILE_READING_THE_COMMANDS = """
class Pressing:
    def find_spec(self, name, path=None, target=None):
        if name == "isocost.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Pressing())
"""
IN_CODE_FROM_A_STRING = """
from isocost.cli.app import app

sys.argv = ["isocost", "pressed"]
app.command("pressed")(lambda: exec("raise KeyboardInterrupt"))
"""


@pytest.mark.parametrize("pressed", [WHILE_READING_THE_COMMANDS, IN_CODE_FROM_A_STRING])
def test_ctrl_c_before_the_work_exits_with_130_and_says_nothing(
    pressed: str, tmp_path: Path
) -> None:
    """As ``python -m`` runs it, where an interrupt in code from a string can end all by SIGINT."""
    (tmp_path / "early.py").write_text(
        f"import sys\n{pressed}\nfrom isocost.cli import main\nmain()\n", encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "early"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_completion_knows_names(tmp_path: Path) -> None:
    def completed(line: str) -> str:
        variables = {
            **environment(tmp_path),
            "_ISOCOST_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        code = "import sys; sys.argv = ['isocost']; from isocost.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "optimize" in completed("isocost opt").split()
    assert "H100" in completed("isocost catalog show --accelerator H1").split()
    assert "aws" in completed("isocost catalog show --provider a").split()
    assert "fifo" in completed("isocost simulate trace t.csv --policy fi").split()
    assert "workload" in completed("isocost schema w").split()


@pytest.mark.slow
def test_doctor_says_what_there_is(isocost: Command) -> None:
    done = isocost("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert {
        "isocost",
        "machine",
        "disk",
        "catalog",
        "solvers",
        "engine local",
        "tensorflow",
    } <= set(found)
    assert found["tensorflow"]["state"] == "ok"
    for one in found.values():
        assert one["state"] in ("ok", "missing", "problem")
        assert one["state"] == "ok" or one["remedy"], one


def test_doctor_reads_well_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> findings.Finding:
        raise OSError("a long story " * 20)

    looks = [*(look for look in findings.LOOKS if "tensorflow" not in look.__name__), broken]
    monkeypatch.setattr(findings, "LOOKS", tuple(looks))
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert "a long story" in done.stdout
    assert all(len(line.rstrip()) <= 80 for line in done.stdout.splitlines())


@pytest.mark.slow
def test_doctor_names_what_is_broken(tmp_path: Path) -> None:
    """A TensorFlow that cannot be imported is told in a line, with what to do, and ends with 4."""
    broken = tmp_path / "path" / "tensorflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libcuda.so.1: no such file')")
    variables = {**environment(tmp_path), "PYTHONPATH": str(broken.parent)}
    done = subprocess.run(
        command_line(["doctor", "--json"]),
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    (found,) = (one for one in json.loads(done.stdout)["findings"] if one["name"] == "tensorflow")
    assert found["state"] == "problem"
    assert "libcuda.so.1" in found["found"]
    assert "pip install" in found["remedy"]


def test_colour_is_for_terminals_alone(tmp_path: Path) -> None:
    variables = {key: value for key, value in environment(tmp_path).items() if key != "NO_COLOR"}
    done = subprocess.run(
        command_line(["catalog", "show", "--limit", "3"]),
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b[" not in done.stdout
