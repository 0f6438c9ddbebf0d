"""Pages in a real browser with no network: everything is drawn, works, and can be read by everybody."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from isocost.catalog.files import Document
from isocost.optimizer.plan import Plan, PlannedCandidate
from isocost.reports import render
from isocost.reports.planned_front import MOST_DRAWN, edge, frontier, thinned
from isocost.reports.tabs import tabs_of
from isocost.simulator import Simulation
from isocost.simulator.metrics import Comparison
from isocost.simulator.rehearsal import ASSUMED, planned, run_futures, simulation
from isocost.simulator.whatif import parse, what_if

from .conftest import recorded_profile
from .documents import EVIL, recorded_run, renamed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LARGEST_PAGE_BYTES = 2_500_000
PHONE_PX, DESK_PX = 375, 1280
SERIOUS = {"serious", "critical"}
# Without the charts' own pictures, which are hidden from assistive technology, and rows like those above them.
AXE = """axe.run(
  {exclude: [['.main-svg'], ['tbody tr:nth-child(n+5)']]}, {resultTypes: ['violations']})"""


def missing(what: str) -> None:
    """Fail where everything must be tested; else skip, saying so."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} on this CI machine; install it to test pages in a browser")
    pytest.skip(f"{what} on this machine: pages were not opened in a browser")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, driven by Playwright."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        missing("no chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("no playwright")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@dataclass
class Opened:
    """A page as it was opened, what it complained of and what it asked for."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def is_quiet(self) -> None:
        assert self.complaints == []
        asked = [url for url in self.requests if not url.startswith(("data:", "blob:"))]
        assert asked == [self.page.url.partition("#")[0]]

    def open_every_tab(self) -> None:
        for tab in self.page.get_by_role("tab").all():
            tab.click()
            self.drawn()

    def drawn(self) -> None:
        """Wait until every figure that can be seen is drawn."""
        self.page.wait_for_selector("html[data-charts=drawn]", state="attached")
        self.until(
            "[...document.querySelectorAll('.chart')].every("
            "(chart) => chart.offsetParent === null || chart.querySelector('.main-svg'))"
        )

    def until(self, condition: str) -> None:
        """Wait for JavaScript to be true; Playwright's own waiting would need eval, which the policy forbids."""
        for _ in range(600):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"never true: {condition}")


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def opened(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens HTML as a file, without a network."""
    contexts = []

    def call(html: str, *, width: int = DESK_PX, dark: bool = False, script: bool = True) -> Opened:
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            offline=True,
            java_script_enabled=script,
        )
        contexts.append(context)
        page = context.new_page()
        found = Opened(page)
        page.on("console", lambda said: found.complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("dialog", lambda dialog: found.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda asked: found.requests.append(asked.url))
        page.goto(path.as_uri())
        if script:
            found.drawn()
        return found

    yield call
    for context in contexts:
        context.close()


def rehearsal(plan: Plan) -> Simulation:
    """A short one, with a what-if."""
    candidates = [planned(job, "chosen") for job in plan.jobs]
    futures = run_futures(candidates, replications=60, seed=1)
    found = simulation(
        plan, candidates, futures, seed=1, which="chosen", conditions=ASSUMED, plan_path="plan.json"
    )
    compared = what_if(
        parse(["price*1.5"]), plan.jobs, candidates, futures, seed=1, conditions=ASSUMED
    )
    return found.model_copy(update={"what_if": compared})


@pytest.fixture(scope="module")
def everything(explained: Plan, comparison: Comparison) -> list[Document]:
    """A document of each kind."""
    profile = recorded_profile()
    ran = recorded_run(explained, profile)
    return [explained, rehearsal(explained), comparison, comparison.policies[0], ran, profile]


@pytest.fixture(scope="module")
def html(everything: list[Document]) -> str:
    return render(everything)


@pytest.fixture(scope="module")
def desk(opened: Open, html: str) -> Opened:
    """All documents on a desk; each test leaves it as it found it."""
    return opened(html)


@pytest.fixture(scope="module")
def phone(opened: Open, html: str) -> Opened:
    """All documents on a phone at night."""
    return opened(html, width=PHONE_PX, dark=True)


@pytest.fixture(scope="module")
def plan_page(opened: Open, explained: Plan) -> Opened:
    """The plan alone; each test leaves it as it found it."""
    html = render([explained])
    assert len(html.encode()) < LARGEST_PAGE_BYTES
    return opened(html)


# ------------------------------------------------------------------------------- whole pages


def test_every_page_draws_every_figure_and_asks_for_nothing(
    desk: Opened, everything: list[Document]
) -> None:
    desk.open_every_tab()
    figures = desk.page.evaluate(
        "[...document.querySelectorAll('.chart')].map((chart) => (chart.data ?? []).length)"
    )
    assert len(figures) == sum(len(tab.drawings()) for tab in tabs_of(everything)) > 25
    assert all(figures)
    titles = desk.page.eval_on_selector_all(
        ".modebar-btn", "(all) => [...new Set(all.map((one) => one.dataset.title))]"
    )
    assert titles == ["Download plot as a PNG"]
    assert "Share chart" not in desk.page.content()
    desk.is_quiet()


def test_the_plan_page_has_every_figure_and_table(plan_page: Opened) -> None:
    headings = plan_page.page.locator("h2, h3").all_inner_texts()
    for words in (
        "Time against cost",
        "What is paid for",
        "Throughput against devices",
        "Which plan wins at which weights",
        "How wrong the figures may be",
        "What binds, and what it costs",
        "What to measure next",
        "Every offer",
        "Where the plan comes from",
    ):
        assert words in headings
    assert "isocost optimize resnet.yaml --explain" in plan_page.page.inner_text("main")
    assert plan_page.page.get_by_role("tablist").count() == 0
    plan_page.is_quiet()


def test_without_scripts_everything_but_the_charts_can_be_read(
    opened: Open, html: str, everything: list[Document]
) -> None:
    page = opened(html, script=False).page
    shown = set(page.locator("h2").all_inner_texts())
    assert {section.title for tab in tabs_of(everything) for section in tab.sections} <= shown
    assert all(panel.is_visible() for panel in page.locator(".panel").all())


def test_on_paper_every_tab_is_there(desk: Opened) -> None:
    page = desk.page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    desk.until(
        "[...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('.main-svg'))"
    )
    assert all(panel.is_visible() for panel in page.locator(".panel").all())
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert sum(panel.is_visible() for panel in page.locator(".panel").all()) == 1


# ------------------------------------------------------------------------------ what one does


def test_hovering_over_the_chosen_plan_tells_the_whole_configuration(
    plan_page: Opened, explained: Plan
) -> None:
    page = plan_page.page
    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    star = chart.locator(".scatterlayer .points path").last
    box = star.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hover = chart.locator(".hoverlayer .hovertext").first
    hover.wait_for()
    text = hover.text_content() or ""
    chosen = explained.jobs[0].chosen
    assert "chosen" in text
    assert chosen.offer.instance_type in text
    assert f"batch {chosen.global_batch}" in text
    assert chosen.basis in text


def test_offers_can_be_searched_narrowed_down_and_sorted(plan_page: Opened) -> None:
    page = plan_page.page
    box = page.locator("[data-live]")
    rows = box.locator("tbody tr:visible")
    status = box.get_by_role("status")
    assert rows.count() == 25
    box.get_by_role("button", name="Show all").click()
    whole = rows.count()
    assert whole > 100
    assert status.inner_text() == f"{whole} rows"

    cost = box.locator("th button", has_text="Cost")
    cost.press("Enter")
    dollars = box.locator("tbody tr td:nth-child(8)").evaluate_all(
        "(cells) => cells.map((cell) => Number(cell.dataset.key))"
    )
    assert dollars == sorted(dollars)
    assert box.locator("th[aria-sort=ascending]").inner_text().startswith("Cost")
    cost.click()
    assert box.locator("th[aria-sort=descending]").count() == 1

    box.locator("select[data-column='1']").select_option("gcp")
    assert 0 < rows.count() < whole
    assert set(box.locator("tbody tr:visible td:nth-child(2)").all_inner_texts()) == {"gcp"}
    box.get_by_role("searchbox").fill("spot h100")
    assert rows.count() > 0
    assert all("H100" in text for text in rows.all_inner_texts())
    box.get_by_role("searchbox").fill("nothing like it")
    assert rows.count() == 0
    assert status.inner_text() == f"0 of {whole} rows"
    box.get_by_role("searchbox").fill("")
    box.locator("select[data-column='1']").select_option("")
    assert rows.count() == whole
    plan_page.is_quiet()


def test_tabs_work_by_keyboard(desk: Opened) -> None:
    page = desk.page
    tabs = page.get_by_role("tab")
    tabs.first.click()
    page.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.id") == "tab-2"
    assert page.locator("#panel-2").is_visible()
    assert not page.locator("#panel-1").is_visible()
    page.keyboard.press("End")
    assert tabs.last.get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowRight")
    assert tabs.first.get_attribute("aria-selected") == "true"
    assert [tab.get_attribute("tabindex") for tab in tabs.all()].count("0") == 1


def test_colours_follow_the_system_and_the_button(plan_page: Opened) -> None:
    page = plan_page.page
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('.chart').layout.font.color"
    button = page.get_by_role("button", name="Colours")
    day = page.evaluate(paper), page.evaluate(ink)
    assert day[0] == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    plan_page.until(f"{ink} !== '{day[1]}'")
    night = page.evaluate(paper), page.evaluate(ink)
    assert night[0] != day[0]
    button.click()
    assert button.inner_text() == "Colours: light"
    assert (page.evaluate(paper), page.evaluate(ink)) == day
    button.click()
    assert (page.evaluate(paper), page.evaluate(ink)) == night
    button.click()
    page.emulate_media(color_scheme="light")
    plan_page.until(f"{ink} === '{day[1]}'")


# ------------------------------------------------------------------------------- accessibility


@pytest.mark.parametrize("screen", ["desk", pytest.param("phone", marks=pytest.mark.long)])
def test_axe_finds_nothing_serious(screen: str, request: pytest.FixtureRequest) -> None:
    try:
        source = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        missing("no axe-playwright-python")
    found: Opened = request.getfixturevalue(screen)
    found.page.evaluate(source)
    for tab in found.page.get_by_role("tab").all():
        tab.click()
        found.drawn()
        result = found.page.evaluate(AXE)
        bad = [
            (one["id"], [node["html"][:160] for node in one["nodes"]])
            for one in result["violations"]
            if one["impact"] in SERIOUS
        ]
        assert bad == []
    found.is_quiet()


@pytest.mark.parametrize(("screen", "width"), [("desk", DESK_PX), ("phone", PHONE_PX)])
def test_nothing_is_wider_than_the_screen(
    screen: str, width: int, request: pytest.FixtureRequest
) -> None:
    found: Opened = request.getfixturevalue(screen)
    for tab in found.page.get_by_role("tab").all():
        tab.click()
        found.drawn()
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    found.is_quiet()


# ------------------------------------------------------------------------------------- names


def test_names_are_text_and_run_nothing(
    opened: Open, explained: Plan, comparison: Comparison
) -> None:
    named = renamed(explained, EVIL)
    job = named.jobs[0]
    assert job.explanation is not None
    offer = job.chosen.offer.model_copy(
        update={"instance_type": EVIL, "region": EVIL, "source": EVIL, "accelerator": EVIL}
    )
    considered = tuple(
        one.model_copy(update={"instance_type": EVIL, "region": EVIL})
        for one in job.explanation.considered[:5]
    )
    job = job.model_copy(
        update={
            "chosen": job.chosen.model_copy(update={"offer": offer}),
            "profile": EVIL,
            "explanation": job.explanation.model_copy(update={"considered": considered}),
        }
    )
    named = named.model_copy(update={"jobs": (job,), "command": EVIL})
    simulated = rehearsal(explained).model_copy(update={"plan": EVIL})
    profile = recorded_profile()
    ran = recorded_run(explained, profile)
    policies = tuple(one.model_copy(update={"policy": EVIL}) for one in comparison.policies)
    shown = [
        named,
        simulated,
        comparison.model_copy(update={"trace": EVIL, "policies": policies}),
        ran.model_copy(update={"job": EVIL, "data": EVIL, "folder": EVIL}),
        profile.model_copy(update={"workload": EVIL, "warnings": (EVIL,)}),
    ]
    found = opened(render(shown, title=EVIL))
    found.open_every_tab()
    for chart in found.page.locator(".chart:visible").all():
        chart.hover()
    assert found.page.evaluate("window.ran") is None
    assert found.page.locator("img, script[src]").count() == 0
    assert EVIL in (found.page.locator("h1").text_content() or "")
    assert EVIL in (found.page.locator("#panel-1").text_content() or "")
    assert "<script>window.ran=1</script>" in (
        found.page.locator(".chart").nth(1).text_content() or ""
    )
    found.is_quiet()


# --------------------------------------------------------------------------------- many points


def large_front(plan: Plan, count: int) -> Plan:
    """A front of so many points that no two of its three figures rank alike."""
    job = plan.jobs[0]
    base = job.chosen

    def point(k: int) -> PlannedCandidate:
        share = (k + 1) / count
        time_s, usd = 3_600 * (1 + 30 * share**2), 400 * (1 - share) ** 2 + 3 + (k * 7919 % 97)
        predicted = base.predicted.model_copy(
            update={
                "time_s": base.predicted.time_s.model_copy(
                    update={"mean": 0.8 * time_s, "p50": 0.75 * time_s, "p90": time_s}
                ),
                "cost_usd": base.predicted.cost_usd.model_copy(
                    update={"mean": usd, "p50": usd, "p90": 1.2 * usd}
                ),
                "flexibility": 1 - (k * 7919 % 97) / 100,
            }
        )
        return base.model_copy(update={"predicted": predicted, "steps": k + 1, "nodes": k + 1})

    front = tuple(point(k) for k in range(count))
    return plan.model_copy(
        update={"jobs": (job.model_copy(update={"frontier": front, "frontier_size": count}),)}
    )


def test_a_front_of_ten_thousand_points_stays_usable(opened: Open, explained: Plan) -> None:
    plan = large_front(explained, 10_000)
    info = frontier(plan.jobs[0])
    assert len(info.points) <= MOST_DRAWN + 10
    whole = list(edge(plan.jobs[0].frontier))
    assert list(info.edge) == whole
    html = render([plan])
    assert len(html.encode()) < LARGEST_PAGE_BYTES
    found = opened(html)
    marks = found.page.locator(".chart").first.locator(".points path").count()
    assert marks == len(info.drawn)
    line = found.page.evaluate("document.querySelector('.chart')._fullData[0].x.length")
    assert line == len(whole)
    assert "10,000 circles" in found.page.locator("figcaption").first.inner_text()
    found.is_quiet()


def test_thinning_leaves_few_points_that_fill_the_same_picture(explained: Plan) -> None:
    front = large_front(explained, 2_000).jobs[0].frontier
    assert thinned(front[:50], 50) == list(front[:50])
    kept = thinned(front, 100)
    assert 40 < len(kept) <= 100
    assert {id(one) for one in kept} <= {id(one) for one in front}
    for quantity in (0, 1):
        every, few = (
            [(one.predicted.time_s.p90, one.predicted.cost_usd.mean)[quantity] for one in part]
            for part in (front, kept)
        )
        span = max(every) - min(every)
        assert min(few) - min(every) < 0.15 * span
        assert max(every) - max(few) < 0.15 * span
