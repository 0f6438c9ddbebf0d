"""Documents of any kind as one page of HTML that needs nothing but a browser."""

import base64
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from .. import __version__
from ..catalog.files import Document
from .content import Tab
from .drawing import ACCENT, BAND, DARK, EDGE, FONT, INK, MUTED, PAPER, RULE, VERMILLION
from .tabs import tabs_of, title_of

HERE = Path(__file__).parent
VARIABLES = {
    "ink": INK,
    "muted": MUTED,
    "edge": EDGE,
    "rule": RULE,
    "paper": PAPER,
    "band": BAND,
    "accent": ACCENT,
    "warn": VERMILLION,
}
PLOTLY_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    # Plotly's own button would upload the figure to a server.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "typesetMath": False,  # two dollar signs are two prices, no formula
    "modeBarButtons": [["toImage"]],
}


def render(documents: Sequence[Document], *, title: str | None = None) -> str:
    """One self-contained page with a tab for each document, in the order of the work: plans,
    simulations, replays, runs, profiles.

    Raises InputError where there is nothing to show or a document has no page.
    """
    tabs = tabs_of(documents)
    return _template().render(
        title=title or title_of(documents),
        lead=list(_lead(tabs)),
        tabs=tabs,
        style=_style(),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        dark=DARK,
        config=PLOTLY_CONFIG,
        figures=_packed(_json([_json(one.figure) for tab in tabs for one in tab.drawings()])),
        plotly=_plotly(),
        version=__version__,
    )


MOST_LEADS = 6


def _lead(tabs: Sequence[Tab]) -> Iterator[str]:
    """The page in a few sentences: what each tab says first, the first tabs whole."""
    sentences = [sentence for tab in tabs for sentence in tab.lead]
    yield from sentences[:MOST_LEADS]


@dataclass(frozen=True, slots=True)
class Packed:
    """A script, compressed, and the hash by which the page's policy knows it.

    style_ids: elements whose presence tells the script that its styles are there already.
    """

    gzip_base64: str
    policy_hash: str
    style_ids: tuple[str, ...]


@cache
def _plotly() -> Packed:
    """plotly.js from the installed package: 4.8 MB, 2.0 MB packed."""
    script = get_plotlyjs()
    return Packed(
        _packed(script),
        _policy_hash(script),
        # The styles of geographic maps: no page of ours has one, and the policy would refuse them.
        tuple(re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', script)),
    )


@cache
def _style() -> Markup:
    """The style sheet, its colours first: light, and dark by the reader's system or choice."""

    def variables(dark: bool) -> str:
        colours = ((name, DARK.get(one, one) if dark else one) for name, one in VARIABLES.items())
        return " ".join(f"--{name}: {colour};" for name, colour in colours)

    night = f"{{ color-scheme: dark; {variables(dark=True)} }}"
    sheet = (HERE / "page.css").read_text(encoding="utf-8")
    return Markup(
        f":root {{ color-scheme: light; --font: {FONT}; {variables(dark=False)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {night} }}\n"
        f"@media screen {{ :root[data-theme=dark] {night} }}\n{sheet}"
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["script_json"] = _script_json
    environment.filters["policy_hash"] = _policy_hash
    environment.filters["tied"] = _tied
    environment.filters["whole"] = _whole
    return environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))


def _policy_hash(text: str) -> Markup:
    """A Content-Security-Policy source that allows exactly this inline text."""
    return Markup(f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'")


def _tied(text: str) -> str:
    """The text with each number tied to its unit, so that no line breaks between them."""
    text = re.sub(r"(?<=\d) (?=(?:%|µs|ms|s|min|h|d|[kMG]i?B|samples/s)(?!\w))", "\u00a0", text)
    text = re.sub(r"(?<=\u00a0(?:d|h)) (?=\d+\u00a0(?:h|min)\b)", "\u00a0", text)
    text = re.sub(r"(?<=\u00a0min) (?=\d+\u00a0s\b)", "\u00a0", text)
    return text.replace(" × ", "\u00a0×\u00a0")  # noqa: RUF001


def _whole(text: str) -> Markup:
    """The text with names such as us-east-1 never broken at their hyphens."""
    return Markup(
        re.sub(
            r"[\w.]+(?:-[\w.]+)+",
            lambda name: f'<span class="whole">{name[0]}</span>' if len(name[0]) <= 30 else name[0],
            str(escape(text)),
        )
    )


def _packed(text: str) -> str:
    """Compressed, in letters and digits that need no escaping."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()


def _json(value: Any) -> str:
    return json.dumps(
        value.to_plotly_json() if hasattr(value, "to_plotly_json") else value,
        default=lambda part: part.to_plotly_json(),
        allow_nan=False,
        separators=(",", ":"),
    )


def _script_json(value: Any) -> Markup:
    """JSON that is safe inside a script element, whatever names it holds."""
    text = _json(value)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
