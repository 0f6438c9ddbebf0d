"""A record's fields as the options of a command, so that commands share them in one place."""

import functools
import inspect
from collections.abc import Callable
from typing import Any


def with_options_of(record: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The command, whose first parameter is such a record (a dataclass), with the record's fields before its own.

    Typer reads a command's signature; this one is put together from both.
    """

    def made(command: Callable[..., None]) -> Callable[..., None]:
        shared = list(inspect.signature(record).parameters.values())
        own = list(inspect.signature(command).parameters.values())[1:]
        names = [one.name for one in shared]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in names}
            command(record(**values), **given)

        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*shared, *own)]
        vars(run)["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return made
