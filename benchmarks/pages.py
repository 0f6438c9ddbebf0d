"""How soon a page can be used, in Chromium without a network: the example plan, and a front of 10,000 points.

    python benchmarks/pages.py [--times 5] [-o pages.json]

Wall times from navigation, medians; CPU seconds of the page's own thread beside them, which other load
does not stretch. Bar: the tables work and the first figures are drawn within 2 s on 2 cores, and a page
is at most 2.5 MB.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from isocost.catalog import load, this_machine
from isocost.optimizer.optimize import Job, optimize
from isocost.optimizer.plan import Plan, PlannedCandidate
from isocost.profiles.workload import read_workload
from isocost.reports import render

EXAMPLE = Path(__file__).parent.parent / "examples" / "resnet50.yaml"
FIRST = "document.querySelector('.chart .main-svg') !== null"
ALL = "document.documentElement.dataset.charts === 'drawn'"


def example() -> Plan:
    """The example that rents, with everything explained."""
    workload = read_workload(EXAMPLE)
    return optimize([Job(workload, EXAMPLE.parent)], load(), this_machine(0.02), explained=True)


def with_front(plan: Plan, count: int) -> Plan:
    """The plan with a front of so many points along its own trade-off of time and cost."""
    job = plan.jobs[0]
    chosen = job.chosen

    def point(k: int) -> PlannedCandidate:
        share = (k + 1) / count
        time_s, usd = 3_600 * (1 + 30 * share**2), 3 + 400 * (1 - share) ** 2 + k * 7919 % 97
        time = chosen.predicted.time_s.model_copy(update={"p50": 0.75 * time_s, "p90": time_s})
        cost = chosen.predicted.cost_usd.model_copy(update={"mean": usd, "p50": usd, "p90": usd})
        update = {"time_s": time, "cost_usd": cost, "flexibility": 1 - (k * 7919 % 97) / 100}
        predicted = chosen.predicted.model_copy(update=update)
        return chosen.model_copy(update={"predicted": predicted, "nodes": k + 1})

    front = tuple(point(k) for k in range(count))
    wider = job.model_copy(update={"frontier": front, "frontier_size": count})
    return plan.model_copy(update={"jobs": (wider,)})


def opened(browser: Browser, path: Path) -> tuple[float, float, float]:
    """Seconds to the first figure, to the last one of the open tab, and of CPU in the page's thread."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    page.add_init_script(
        f"""const watch = setInterval(() => {{
          if (!window.first && {FIRST}) window.first = performance.now();
          if ({ALL}) {{ window.all = performance.now(); clearInterval(watch); }}
        }}, 5);"""
    )
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-charts=drawn]", state="attached")
    page.wait_for_timeout(100)  # until the watch has seen it
    first, whole = page.evaluate("[window.first / 1000, window.all / 1000]")
    metrics = session.send("Performance.getMetrics")["metrics"]
    cpu = next(one["value"] for one in metrics if one["name"] == "TaskDuration")
    context.close()
    return first, whole, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    plan = example()
    pages = {"plan": render([plan]), "10,000 points": render([with_front(plan, 10_000)])}
    rows: list[dict[str, Any]] = []
    print(f"{'page':<14} {'MB':>5} {'first figure':>13} {'all figures':>12} {'CPU':>7}")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, html in pages.items():
            path = Path(folder) / "page.html"
            path.write_text(html, encoding="utf-8")
            found = [opened(browser, path) for _ in range(given.times)]
            first, whole, cpu = (statistics.median(column) for column in zip(*found, strict=True))
            size = len(html.encode()) / 1e6
            rows.append({"page": name, "mb": size, "first_s": first, "all_s": whole, "cpu_s": cpu})
            print(f"{name:<14} {size:>5.2f} {first:>11.2f} s {whole:>10.2f} s {cpu:>5.2f} s")
        browser.close()
    if given.output is not None:
        given.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
