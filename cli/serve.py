"""isocost serve: the live view of one folder, on this machine alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket


def serve(
    folder: Annotated[
        Path, typer.Argument(help="Folder with workloads and documents; all others stay closed.")
    ] = Path(),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 for any that is free.")] = 8765,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Jobs that run at a time.")] = 1,
    max_queue: Annotated[int, typer.Option(min=1, help="Jobs that may wait.")] = 1000,
    max_body: Annotated[
        int, typer.Option(min=1024, max=2**26, help="Bytes that a request may bring.")
    ] = 256 * 1024,
    max_rate: Annotated[
        float, typer.Option(min=1, help="Requests a second; others wait, then get 429.")
    ] = 300.0,
    open_reading: Annotated[
        bool,
        typer.Option("--open-reading", help="Let everyone on this machine read without the token."),
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser", help="Also open the page in a browser.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print address and token as JSON, then serve.")
    ] = False,
) -> None:
    """Serve a folder on loopback: a page that plans while you drag its sliders, and an OpenAPI service.

    The token in the printed address is the key to it; ISOCOST_TOKEN sets it. Long work is queued in
    FOLDER/.isocost and goes on after a restart. Ctrl-C ends.

    Examples:

    isocost serve

    isocost serve jobs/ --port 9000 --workers 2 --browser
    """
    import json

    from ..catalog.files import InputError
    from .output import err, out

    try:
        import uvicorn

        from ..service.api import create
        from ..service.guard import Limits
    except ModuleNotFoundError as error:
        raise InputError(
            f"isocost serve needs {error.name}, which is not installed; pip install 'isocost[serve]'"
        ) from None
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds your workloads")
    token = _token()
    with _alone(folder.resolve()), _listening(port) as listener:
        found = listener.getsockname()[1]
        address = f"http://127.0.0.1:{found}/"
        limits = Limits(
            body_bytes=max_body,
            requests_per_s=max_rate,
            queue=max_queue,
            workers=workers,
            open_reading=open_reading,
        )
        app = create(folder, token=token, port=found, limits=limits)
        if as_json:
            typer.echo(json.dumps({"address": address, "port": found, "token": token}))
        else:
            out.print(f"{address}#token={token}", soft_wrap=True, markup=False)
            err.print(
                f"Serving {folder.resolve()} on this machine alone; Ctrl-C ends.",
                soft_wrap=True,
                markup=False,
            )
        if browser:
            import webbrowser

            webbrowser.open(f"{address}#token={token}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # the audit log says who did what
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
            ws="none",
        )
        uvicorn.Server(config).run(sockets=[listener])


def _token() -> str:
    """The token: of the environment, or a new one of 256 bits."""
    import os
    import secrets

    from ..catalog.files import InputError

    given = os.environ.get("ISOCOST_TOKEN")
    if given is None:
        return secrets.token_urlsafe(32)
    if len(given) < 16 or not given.isascii() or not given.isprintable() or " " in given:
        raise InputError(
            "ISOCOST_TOKEN must be 16 or more printable ASCII characters without spaces; unset it to "
            "have one made"
        )
    return given


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: a second service would take up the first one's jobs."""
    import fcntl
    import os

    from ..catalog.files import InputError
    from ..service.folder import STATE

    place = folder / STATE
    if place.is_symlink():
        raise InputError(
            f"{place} is a link; remove it, for nothing outside {folder} is written to"
        )
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        file = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another isocost serve works in {folder}; end it first, or serve another folder"
            ) from None
        yield
    finally:
        os.close(file)


def _listening(port: int) -> "socket.socket":
    import socket

    from ..catalog.files import InputError

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"port {port} cannot be used: {error.strerror}; give another with --port, or 0 for any"
        ) from None
    listener.listen(2048)
    return listener
