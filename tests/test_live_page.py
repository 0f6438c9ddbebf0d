"""The live page in a real browser: it re-plans, runs nothing that is text, and asks nobody else."""

import os
import shutil
from pathlib import Path

import pytest

from .test_service import LARGE, TOKEN, serving

EVIL = "<script>alert(1)</script>"


def missing(what: str) -> None:
    """Fail where everything must be tested; else skip, saying so."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} on this CI machine; install it to test pages in a browser")
    pytest.skip(f"{what} on this machine: the live page was not opened in a browser")


@pytest.mark.slow
def test_dragging_changes_the_plan_in_a_browser(tmp_path: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        missing("no chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    folder = tmp_path / "served"
    folder.mkdir()
    text = LARGE.replace("name: large", f"name: 'large {EVIL}'")
    (folder / "large.yaml").write_text(text, encoding="utf-8")
    complaints: list[str] = []
    asked: set[str] = set()
    with serving(folder, tmp_path) as service, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: asked.add(request.url.split("/")[2]))
        page.goto(f"{service.address}#token={TOKEN}")
        page.locator("#others tbody tr.chosen").wait_for(timeout=120_000)
        assert TOKEN not in page.url
        assert EVIL in page.inner_text("#answer")
        plans = set()
        for alpha, beta in ((100, 0), (0, 100)):
            page.locator("#alpha").fill(str(alpha))
            page.locator("#beta").fill(str(beta))
            page.locator("#gamma").fill("0")
            page.wait_for_timeout(3000)
            plans.add(page.locator("#others tbody tr.chosen td").first.inner_text())
        assert len(plans) == 2
        found_by_axe = axe.Axe().run(page).response["violations"]
        serious = [one["id"] for one in found_by_axe if one["impact"] in ("serious", "critical")]
        assert serious == []
        browser.close()
        assert complaints == []
        assert asked == {f"127.0.0.1:{service.port}"}
