"""Code blocks of the documents, and a place to run them in.

How a block is treated is said by its first line, so that the page shows nothing of it:

    ```console                        run, line by line, in the page's own folder
    ```console title="needs ..."      options checked alone: it needs an account, a cluster or hours
    ```python                         run; title="part of ...": parsed alone
    ```python title="train.py"        written to that file of the page's folder
    ```yaml title="job.yaml"          the same; every YAML block is parsed, and held to its schema
    ```text, ```json, others          output, or another tool's language: left alone

A page's folder holds examples/, plan.json (of examples/cifar10.yaml) and job.yaml (the same workload).
Commands run with cheap settings where they give none themselves (CHEAP).
"""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .conftest import EXAMPLE, ROOT

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<words>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)
SPAN = re.compile(r"`(isocost [^`]+)`")
INDENTED = re.compile(r"^(?: {4}|\t)(isocost [^\n]+)$", re.MULTILINE)
TITLE = re.compile(r'title="([^"]*)"')
# Words of a command to what it is given where it does not say so itself.
CHEAP = {
    ("profile", "measure"): ["--max-seconds", "6", "--workers", "1"],
    ("profile", "compare"): ["--max-seconds", "6"],
    ("profile",): ["--max-seconds", "6", "--workers", "1"],
    ("simulate",): ["--replications", "50"],
    ("run",): ["--max-steps", "5"],
}
PLACEHOLDERS = re.compile(r"[…<>]|\.\.\.")
DIGEST = "sha256:" + "0123456789abcdef" * 4  # stands for the … of an image's digest


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page, with the line it begins at."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        return not (self.title or "").startswith(("needs", "part of"))

    def commands(self) -> list[str]:
        """The lines of a console block, continued ones joined, prompts and comments removed."""
        joined = self.text.replace("\\\n", " ")
        lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    content = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(content):
        words = found["words"].split(maxsplit=1)
        title = TITLE.search(found["words"])
        indent = found["indent"]
        text = "".join(
            line.removeprefix(indent) for line in found["text"].splitlines(keepends=True)
        )
        yield Block(
            page,
            content[: found.start()].count("\n") + 1,
            words[0] if words else "",
            title[1] if title else None,
            text,
        )


def spans(page: Path) -> list[str]:
    """Commands of isocost within sentences and in indented lines."""
    content = FENCE.sub("", page.read_text(encoding="utf-8")).replace("\\\n", " ")
    return [" ".join(one.split()) for one in SPAN.findall(content) + INDENTED.findall(content)]


def isocost_words(command: str) -> list[list[str]]:
    """The arguments of every isocost in a command line; what stands in brackets counts."""
    plain = re.sub(r"[\[\]]", " ", command)
    try:
        words = shlex.split(PLACEHOLDERS.sub("X", plain), comments=True)
    except ValueError:
        return []
    found: list[list[str]] = []
    current: list[str] | None = None
    for word in words:
        if word in ("|", "&&", ";", ">", ">>", "2>", "--"):
            current = None
        elif current is not None:
            current.append(word)
        elif word == "isocost":
            current = []
            found.append(current)
    return found


class Folder:
    """The folder of one page, with a command isocost that is cheap."""

    def __init__(self, folder: Path, plan: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "examples", folder / "examples")
        shutil.copy(plan, folder / "plan.json")
        shutil.copy(EXAMPLE, folder / "job.yaml")
        tools = folder / ".bin"
        tools.mkdir()
        shim = tools / "isocost"
        shim.write_text(
            f"#!{sys.executable}\nimport sys\nCHEAP = {CHEAP!r}\nwords = sys.argv[1:]\n"
            "for names, added in CHEAP.items():\n"
            "    if tuple(words[:len(names)]) == names and '--dry-run' not in words:\n"
            "        if len(names) == 1 and not words[1].endswith(('.json', '.yaml')):\n"
            "            break\n"
            "        if not any(word in words for word in added if word.startswith('--')):\n"
            "            words += added if words[-1:] != ['--help'] else []\n"
            "        break\n"
            "sys.argv[1:] = words\n"
            "from isocost.cli import main\nmain()\n",
            encoding="utf-8",
        )
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        self._environment = {
            **os.environ,
            "PATH": os.pathsep.join(
                [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "HOME": str(folder),
            "ISOCOST_HOME": str(folder / ".home"),
            "COLUMNS": "80",
            "NO_COLOR": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }

    def run(self, block: Block) -> None:
        """Do what the block says; AssertionError with its output where it fails."""
        if block.language == "console":
            for command in block.commands():
                self._call(
                    ["bash", "-euo", "pipefail", "-c", command.replace("sha256:…", DIGEST)], block
                )
        elif block.title is not None and block.language in ("python", "yaml"):
            (self.folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._call([sys.executable, "-c", block.text], block)

    def _call(self, command: list[str], block: Block) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, (
            f"{block.place}: {command[-1]}\nended with {done.returncode}\n{done.stdout[-1500:]}\n"
            f"{done.stderr[-1500:]}"
        )
