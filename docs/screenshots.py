"""The pictures of the documents, made anew from real records: `make screenshots`.

    python docs/screenshots.py [--records DIR]

Without --records, everything is measured, planned, rehearsed and run first (about three minutes on two
cores). Needs Chromium and Playwright.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
EXAMPLES = DOCS.parent / "examples"


@dataclass(frozen=True, slots=True)
class Picture:
    """One screenshot: of which records, from which heading on, how wide and how high."""

    name: str
    records: tuple[str, ...]
    heading: str = ""  # '' for the top of the page
    width: int = 1100
    height: int = 1000
    dark: bool = False


PICTURES = (
    Picture("plan", ("plan",), height=1180),
    Picture("plan-dark", ("plan",), dark=True, height=1180),
    Picture("plan-phone", ("plan",), width=375, height=1100),
    Picture("why", ("plan",), heading="Why this plan", height=1260),
    Picture("offers", ("plan",), heading="Every offer", height=760),
    Picture("rehearsal", ("simulation",), height=1300),
    Picture("run", ("run",), height=1300),
    Picture("profile", ("profile",), height=1300),
)


def records(folder: Path) -> None:
    """Plan, rehearsal, run and profile in folder."""

    def isocost(*arguments: str | Path) -> None:
        print("isocost", *arguments, file=sys.stderr)
        subprocess.run([sys.executable, "-m", "isocost", *map(str, arguments)], check=True)

    small, large = EXAMPLES / "cifar10.yaml", EXAMPLES / "resnet50.yaml"
    isocost("profile", small, "--max-seconds", "60", "-o", folder)
    isocost("optimize", small, "-o", folder / "small.json")
    isocost("run", folder / "small.json", "--max-steps", "3000", "-o", folder / "run.json")
    shutil.copy(next(folder.glob("profile-*.json")), folder / "profile.json")
    isocost("optimize", large, "--explain", "-o", folder / "plan.json")
    what_if = "price*1.5,spot_hazard*2,nodes+1"
    isocost(
        "simulate", folder / "plan.json", "--what-if", what_if, "-o", folder / "simulation.json"
    )


@contextmanager
def page_of(browser: Browser, html: Path, picture: Picture) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        device_scale_factor=1.5 if picture.width > 500 else 2,
        color_scheme="dark" if picture.dark else "light",
        offline=True,
    )
    page = context.new_page()
    page.goto(html.as_uri())
    page.wait_for_selector("html[data-charts=drawn]", state="attached")
    yield page
    context.close()


def take(browser: Browser, folder: Path, pictures: Sequence[Picture]) -> None:
    """Every picture, from the records in folder."""
    from isocost.reports import read_any, render

    IMAGES.mkdir(exist_ok=True)
    for picture in pictures:
        html = folder / "page.html"
        found = [read_any(folder / f"{name}.json") for name in picture.records]
        html.write_text(render(found), encoding="utf-8")
        with page_of(browser, html, picture) as page:
            if picture.heading:
                top = "heading => scrollTo(0, heading.getBoundingClientRect().top + scrollY - 24)"
                page.get_by_role("heading", name=picture.heading, exact=True).evaluate(top)
            page.wait_for_timeout(300)
            page.screenshot(path=IMAGES / f"{picture.name}.png")
        print(IMAGES / f"{picture.name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, help="folder with the records of an earlier call")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = given.records or Path(temporary)
        if not (folder / "simulation.json").exists():
            records(folder)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        take(browser, folder, PICTURES)
        browser.close()
    shutil.copy(IMAGES / "plan.png", DOCS / "report.png")


if __name__ == "__main__":
    main()
