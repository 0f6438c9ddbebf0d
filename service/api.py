"""The service: workloads, plans, simulations and runs of one folder over HTTP, described by OpenAPI."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException as HTTPError

from .. import __version__
from ..catalog.files import Document, InputError, Record
from ..execution.record import Run
from ..optimizer.plan import Plan
from ..optimizer.replan import Replanned, Space
from ..profiles.workload import Workload, read_workload
from ..reports import read_any, render
from ..simulator.records import Simulation
from .audit import Audit
from .dispatch import Dispatcher
from .folder import Absent, Folder
from .guard import App, Guard, Limits, page_signature
from .jobs import Job, JobStore, Kind, QueueFull, State
from .replanner import Replanner
from .requests import REQUESTS, RESULTS, JobRequest, ReplanRequest, SpaceRequest, check

PAGE = Path(__file__).with_name("page")
KEY = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=100,
        pattern=r"^[\x21-\x7e]+$",
        description="Asking again with the same key gives the same job; for repeating a request "
        "whose answer was lost.",
    ),
]


class Error(Record):
    """A refusal: what was wrong, and what to do."""

    error: str


class Health(Record):
    """That the service is there; jobs: how many are in which state."""

    version: str
    jobs: dict[str, int]


class Listed(Record):
    """A document by its name below the folder; page: where it is shown, for who has the link."""

    name: str
    modified: float
    page: str | None = None


class ListedWorkload(Record):
    """A workload file; error: why it cannot be used, else None."""

    name: str
    title: str
    error: str | None = None


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": words}
    for status, words in {
        400: "Malformed",
        401: "No token, or a wrong one",
        403: "From another site",
        404: "No such thing",
        405: "No such method",
        408: "Sent too slowly",
        409: "Not in this state",
        413: "Too large",
        414: "Address too long",
        422: "Cannot be used",
        429: "Too many requests, or too many jobs wait",
    }.items()
}


class _Service:
    """What the routes share."""

    def __init__(self, root: Path, token: str, limits: Limits) -> None:
        self.folder = Folder(root)
        self.token, self.limits = token, limits
        self.audit = Audit(self.folder.state / "audit.jsonl")
        self.store = JobStore(self.folder.state / "jobs.sqlite3")
        self.dispatcher = Dispatcher(self.folder, self.store, self.audit, limits.workers)
        self.replanner = Replanner(self.folder)

    def accept(self, kind: Kind, body: JobRequest, key: str | None) -> Job:
        check(body, self.folder)
        job = self.store.add(kind, body.model_dump(mode="json"), key=key, most=self.limits.queue)
        self.audit.note("service", f"job {job.id}", "accepted", kind=kind)
        self.dispatcher.wake()
        return job

    def listed(self, kind: str) -> list[Listed]:
        return [
            Listed(name=one.name, modified=one.modified, page=self.page(one.name))
            for one in self.folder.documents(f"isocost/{kind}/v1")
        ]

    def page(self, name: str) -> str:
        from urllib.parse import quote

        return f"/pages/{quote(name)}?s={page_signature(self.token, name)}"

    def document(self, kind: type[Document], name: str) -> Response:
        """The file as it lies there, once it is known to be what it should be."""
        return Response(
            kind.read(self.folder.existing(name)).to_json(), media_type="application/json"
        )


def create(root: Path, *, token: str, port: int, limits: Limits | None = None) -> App:
    """The service over one folder, behind its guard; jobs begin with its life and stop with it."""
    service = _Service(root, token, limits or Limits())

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.audit.note("service", "start", f"version {__version__}", folder=str(root))
        service.dispatcher.start()
        yield
        service.dispatcher.stop()
        service.audit.note("service", "stop", "in good order")
        service.store.close()

    app = FastAPI(
        title="isocost",
        version=__version__,
        summary="Where to train: workloads, plans, simulations and runs of one folder.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=life,
        responses=REFUSALS,
    )
    app.include_router(_api(service), prefix="/api/v1")
    app.include_router(_pages(service), include_in_schema=False)
    _refusals(app)
    return Guard(app, token=token, port=port, limits=service.limits, audit=service.audit)


def _api(service: _Service) -> APIRouter:
    api = APIRouter()

    @api.get("/health")
    def health() -> Health:
        """Whether the service is there, and how busy."""
        return Health(version=__version__, jobs=service.store.counts())

    @api.get("/workloads")
    def workloads() -> list[ListedWorkload]:
        """The workload files of the folder."""
        return [
            _workload(service.folder, one.name)
            for one in service.folder.documents("isocost/workload/v1")
        ]

    @api.get("/workloads/{name:path}", response_model=Workload)
    def workload(name: str) -> Response:
        """One workload, checked, with every default."""
        return service.document(Workload, name)

    @api.put("/workloads/{name:path}", status_code=201)
    def put_workload(
        name: str, body: Workload, replace: Annotated[bool, Query()] = False
    ) -> ListedWorkload:
        """Write a workload file, NAME.json; one that is there is only replaced when told so."""
        path = service.folder.path(name)
        if path.suffix != ".json":
            raise InputError(
                f"{name!r} does not end with .json; name the file for example job.json"
            )
        if path.exists() and not replace:
            raise HTTPException(409, f"{name!r} is there already; ?replace=true writes over it")
        body.write(path)
        return _workload(service.folder, name)

    @api.post("/space")
    def space(body: SpaceRequest) -> Space:
        """What there is to choose from for a workload: its front, and its own wishes."""
        return service.replanner.space(body.workload)

    @api.post("/replan")
    def replan(body: ReplanRequest) -> Replanned:
        """The plan of a workload under other weights, deadline and budget, at once."""
        return service.replanner.replan(body)

    _made(api, service, "plan", Plan, "Plan workloads")
    _made(api, service, "simulation", Simulation, "Rehearse a plan")
    _made(api, service, "run", Run, "Train a plan's candidate for this machine")

    @api.get("/jobs")
    def jobs(
        state: State | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[Job]:
        """The newest jobs."""
        return service.store.newest(limit, state)

    @api.get("/jobs/{id}")
    def job(id: str) -> Job:
        """One job: its state, progress, and result or error."""
        return _found(service.store.get(id), id)

    @api.delete("/jobs/{id}")
    def cancel(id: str) -> Job:
        """Cancel a job that waits or runs."""
        _found(service.store.get(id), id)
        if not service.dispatcher.cancel(id):
            raise HTTPException(409, f"job {id} has ended already")
        return _found(service.store.get(id), id)

    return api


def _made(
    api: APIRouter, service: _Service, kind: Kind, document: type[Document], work: str
) -> None:
    """Add the routes of what jobs make: list them, read one, begin a job for another."""
    many = RESULTS[kind]

    @api.get(f"/{many}", name=many, description=f"The {many} in the folder, newest first.")
    def listed() -> list[Listed]:
        return service.listed(kind)

    @api.get(
        f"/{many}/{{name:path}}", name=kind, description=f"One {kind}.", response_model=document
    )
    def read(name: str) -> Response:
        return service.document(document, name)

    def begin(body: JobRequest, key: KEY = None) -> Job:
        return service.accept(kind, body, key)

    begin.__annotations__["body"] = REQUESTS[kind]  # of the three, the one that FastAPI checks
    told = f"{work}, as a job; its result is a {kind}."
    api.post(f"/{many}", name=f"new_{kind}", description=told, status_code=202)(begin)


def _found(job: Job | None, name: str) -> Job:
    if job is None:
        raise HTTPException(404, f"there is no job {name[:80]!r}")
    return job


def _workload(folder: Folder, name: str) -> ListedWorkload:
    try:
        return ListedWorkload(name=name, title=read_workload(folder.existing(name)).name)
    except InputError as error:
        return ListedWorkload(name=name, title=name, error=str(error))


def _pages(service: _Service) -> APIRouter:
    pages = APIRouter()
    for name, kind in (("live.js", "text/javascript"), ("live.css", "text/css")):
        pages.add_api_route(f"/{name}", _file(name, kind), methods=["GET"])

    @pages.get("/")
    def live() -> HTMLResponse:
        """The live page; it holds nothing of the folder before it has shown the token."""
        return HTMLResponse(_live())

    @pages.get("/plotly.js")
    def plotly() -> Response:
        kept = {"cache-control": "private, max-age=86400"}
        return PlainTextResponse(_plotly(), media_type="text/javascript", headers=kept)

    @pages.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @pages.get("/pages/{name:path}")
    def page(name: str) -> HTMLResponse:
        """Any document of the folder as a page."""
        return HTMLResponse(render([read_any(service.folder.existing(name))]))

    return pages


def _file(name: str, kind: str) -> Callable[[], FileResponse]:
    def give() -> FileResponse:
        return FileResponse(PAGE / name, media_type=kind)

    return give


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _live() -> str:
    """The live page, with the elements by which plotly.js takes the styles of geographic maps, which
    no page of ours has and its policy would refuse, for loaded."""
    ids = re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', _plotly())
    marks = "".join(f'<span id="{one}" hidden></span>' for one in ids)
    text = (PAGE / "live.html").read_text(encoding="utf-8")
    return text.replace("<!-- plotly-styles -->", marks)


def _refusals(app: FastAPI) -> None:
    """Every refusal is one sentence, whoever found the mistake."""

    def refuse(status: int, words: str) -> JSONResponse:
        said = words.encode("utf-8", "replace").decode()
        headers = {"retry-after": "5"} if status == 429 else None
        return JSONResponse({"error": said}, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
        status = 400 if first["type"] == "json_invalid" else 422
        return refuse(status, f"{place}: {first['msg'].removeprefix('Value error, ')}")

    @app.exception_handler(Absent)
    def absent(_: Request, error: Absent) -> JSONResponse:
        return refuse(404, str(error))

    @app.exception_handler(InputError)
    def unusable(_: Request, error: InputError) -> JSONResponse:
        return refuse(422, str(error))

    @app.exception_handler(QueueFull)
    def full(_: Request, error: QueueFull) -> JSONResponse:
        return refuse(429, str(error))

    @app.exception_handler(UnicodeError)
    def no_text(_: Request, error: UnicodeError) -> JSONResponse:
        return refuse(400, "the request holds what is no text")

    @app.exception_handler(HTTPError)
    def plain(_: Request, error: HTTPError) -> JSONResponse:
        return refuse(error.status_code, str(error.detail))
