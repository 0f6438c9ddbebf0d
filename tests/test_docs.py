"""The documents: every command exists with its options, every block does what the page says."""

import ast
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from isocost.catalog.files import Document
from isocost.cli.app import app
from isocost.optimizer.plan import Plan
from isocost.profiles.records import Profile
from isocost.profiles.workload import Workload

from .conftest import EXAMPLE, ROOT, Command
from .docs_pages import Block, Folder, blocks, isocost_words, pages, spans

LANGUAGES = {"console", "python", "yaml", "json", "text", "dockerfile", "toml", "mermaid"}
PAGES = [str(page.relative_to(ROOT)) for page in pages()]
SCHEMAS: dict[str, type[Document]] = {
    "isocost/workload/v1": Workload,
    "isocost/plan/v1": Plan,
    "isocost/profile/v1": Profile,
}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_page_exists_with_its_options(page: str) -> None:
    found = [command for block in blocks(ROOT / page) for command in _commands(block)]
    for command in found + spans(ROOT / page):
        for words in isocost_words(command):
            if "--install-completion" in words:
                continue  # changes the shell's settings before it looks at --help
            # The parser refuses an option that there is not before it shows the help.
            shown = CliRunner().invoke(app, [*words, "--help"])
            assert shown.exit_code == 0, f"{page}: {command}\n{shown.output}"


def _commands(block: Block) -> list[str]:
    return block.commands() if block.language == "console" else []


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_its_language_and_is_well_formed(page: str) -> None:
    for block in blocks(ROOT / page):
        assert block.language in LANGUAGES, f"{block.place}: write the language behind ```"
        if block.language == "python":
            ast.parse(block.text, block.place)
        if block.language == "yaml":
            for content in yaml.safe_load_all(block.text):
                kind = SCHEMAS.get(content.get("schema", "")) if isinstance(content, dict) else None
                if kind is not None:
                    kind.parse(content, block.place)


@pytest.fixture(scope="session")
def example_plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    made = CliRunner().invoke(
        app, ["optimize", str(EXAMPLE), "-o", str(folder / "plan.json")], catch_exceptions=False
    )
    assert made.exit_code == 0, made.output
    return folder / "plan.json"


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs_in_order(page: str, tmp_path: Path, example_plan: Path) -> None:
    folder = Folder(tmp_path, example_plan)
    for block in blocks(ROOT / page):
        if block.runs:
            folder.run(block)


def test_a_block_that_fails_is_noticed(
    tmp_path: Path, example_plan: Path, isocost: Command
) -> None:
    page = tmp_path / "page.md"
    folder = Folder(tmp_path / "folder", example_plan)
    for text, words in (
        ("```console\nisocost catalog show --no-such-option\n```\n", "ended with 2"),
        ("```python\nassert 1 == 2\n```\n", "AssertionError"),
    ):
        page.write_text(text, encoding="utf-8")
        (block,) = (_at_root(one) for one in blocks(page))
        with pytest.raises(AssertionError, match=words):
            folder.run(block)


def _at_root(block: Block) -> Block:
    return Block(ROOT / "page.md", block.line, block.language, block.title, block.text)


def test_every_page_is_in_the_navigation() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in settings, f"{page} is not in mkdocs.yml"
