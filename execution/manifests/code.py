"""The Python files that a model of one's own consists of."""

import ast
from collections.abc import Iterator
from pathlib import Path

from ...catalog.files import InputError


def code_of(model: str, folder: Path) -> dict[str, str]:
    """The files behind ``module:function``, by their path below folder: the module and what it imports.

    Only Python files below folder that an import names: data, keys and notebooks stay where they are.
    Nothing for a built-in model. InputError where the module is not there.
    """
    module, colon, _ = model.partition(":")
    if not colon:
        return {}
    found: dict[str, str] = {}
    waiting = _files(folder, module)
    if not waiting:
        raise InputError(
            f"the model's file {folder / (module.replace('.', '/') + '.py')} is not there; plan on "
            "this machine, or put it into the image and say where it lies with --code-path"
        )
    while waiting:
        path = waiting.pop()
        name = path.relative_to(folder).as_posix()
        if name in found:
            continue
        found[name] = path.read_text(encoding="utf-8")
        package = path.relative_to(folder).parent.parts
        for imported in _imports(found[name], path, package):
            waiting += _files(folder, imported)
    return dict(sorted(found.items()))


def _files(folder: Path, module: str) -> list[Path]:
    """The files of a module, its packages' included; none where it is somebody else's."""
    parts = module.split(".")
    own: list[Path] = []
    for length in range(1, len(parts) + 1):
        stem = folder.joinpath(*parts[:length])
        if (stem / "__init__.py").is_file():
            own.append(stem / "__init__.py")
        elif stem.with_suffix(".py").is_file():
            own.append(stem.with_suffix(".py"))
        elif not stem.is_dir():
            break
    return own


def _imports(text: str, path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Modules that a file imports, by their full names; ``from a import b`` may mean a or a.b."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise InputError(f"{path} line {error.lineno}: {error.msg}; correct it first") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)
