"""The house itself: who may import whom, what is packaged, what must stay light."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import isocost

from .conftest import EXAMPLE, ROOT

MAY_IMPORT = {
    "catalog": set[str](),
    "profiles": {"catalog"},
    "optimizer": {"catalog", "profiles"},
    "simulator": {"catalog", "profiles", "optimizer"},
    "execution": {"catalog", "profiles", "optimizer"},
    "reports": {"catalog", "profiles", "optimizer", "simulator", "execution"},
    "service": {"catalog", "profiles", "optimizer", "simulator", "execution", "reports"},
    "cli": {"catalog", "profiles", "optimizer", "simulator", "execution", "reports", "service"},
}
TRAINS = {"isocost.profiles.models", "isocost.profiles.training"}  # import TensorFlow at the top


def sources(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py"))


def parts_imported(path: Path) -> set[str]:
    """Parts of isocost that a module names in any import, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 2 and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == 2:
            found |= {alias.name for alias in node.names}
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        assert not any(name.split(".")[0] == "isocost" for name in names), (
            f"{path} imports isocost absolutely; parts import each other relatively"
        )
    return found & set(MAY_IMPORT)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_point_one_way_only(part: str) -> None:
    assert sources(part)
    for path in sources(part):
        forbidden = parts_imported(path) - MAY_IMPORT[part] - {part}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {forbidden}"


def test_every_part_is_packaged_and_the_root_ships_no_module() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = set(settings["tool"]["setuptools"]["packages"])
    found = {
        "isocost." + ".".join(path.parent.relative_to(ROOT).parts)
        for part in MAY_IMPORT
        for path in (ROOT / part).rglob("__init__.py")
    }
    assert packages == found | {"isocost"}
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}
    linked = {path.name for path in (ROOT / "typings" / "isocost").iterdir()}
    assert linked == {*MAY_IMPORT, "__init__.py", "__main__.py", "py.typed"}


def test_examples_in_docstrings_are_true() -> None:
    tried = 0
    for module in pkgutil.walk_packages(isocost.__path__, "isocost."):
        root = module.name.split(".")[1]
        if root not in MAY_IMPORT or module.name in TRAINS:
            continue
        result = doctest.testmod(importlib.import_module(module.name))
        assert result.failed == 0, module.name
        tried += result.attempted
    assert tried > 10


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["optimize", str(EXAMPLE), "--json"],
        ["catalog", "show"],
        ["simulate", "{plan}", "--replications", "20", "--json"],
        ["report", "{plan}"],
    ],
)
def test_planning_never_imports_tensorflow(arguments: list[str], tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    if "{plan}" in arguments:
        made = [sys.executable, "-m", "isocost", "optimize", str(EXAMPLE), "-o", str(plan)]
        subprocess.run(made, check=True, capture_output=True, cwd=tmp_path)
    given = [argument.replace("{plan}", str(plan)) for argument in arguments]
    code = (
        f"import sys; sys.argv = ['isocost', *{given!r}]\n"
        "from isocost.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = [name for name in ('tensorflow', 'keras') if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
