"""What a page says equals what its documents say, whatever they are called, and asks no network."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost import reports
from isocost.catalog import load
from isocost.catalog.files import Document, InputError
from isocost.execution.record import (
    Run,
    RunFigures,
)
from isocost.optimizer.plan import Move, Pipeline, Plan, PlannedJob
from isocost.profiles.records import Profile
from isocost.profiles.workload import Workload
from isocost.reports import export, exporting, read_any, render
from isocost.reports.drawing import (
    LOG_FROM,
    MOST_TICKS,
    histogram,
    needs_log,
    share_below,
    time_axis,
    usd_axis,
)
from isocost.reports.exporting import missing_for_export, named_drawings
from isocost.reports.planned import (
    basis_warning,
    here_sentence,
    identity,
    limits,
    rows,
    train_sentence,
)
from isocost.reports.planned_costs import cost_bars
from isocost.reports.planned_front import draw_frontier, frontier
from isocost.reports.planned_jobs import lanes
from isocost.reports.profiled import common_words, curves, draw_curves
from isocost.reports.profiled_page import effects
from isocost.reports.profiled_roofline import roofline
from isocost.reports.ran import (
    between_restarts,
    comparisons,
    draw_comparisons,
    draw_losses,
    draw_step_times,
    noise_band,
    noise_sentence,
    run_sentence,
)
from isocost.reports.ran_page import draw_waterfall, split, waterfall
from isocost.reports.rehearsed import (
    cost_futures,
    draw_futures,
    finish_futures,
    gantt,
    hopeless_sentence,
    rehearsal_sentence,
)
from isocost.reports.words import change, count, duration, operations, share, size, usd
from isocost.simulator import Simulation, Timeline, TimelineEvent, rehearse

from .documents import EVIL, renamed

LARGEST_PAGE_BYTES = 2_500_000


def elsewhere(job: PlannedJob) -> PlannedJob:
    """The job with its first runner-up chosen, so that nothing was measured there."""
    return job.model_copy(update={"chosen": job.runners_up[0], "runners_up": job.runners_up[1:]})


# -------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.0000032, "3.2 µs"),
        (0.0063, "6.3 ms"),
        (0.64, "640 ms"),
        (0.9996, "1 s"),
        (6.54, "6.5 s"),
        (73.1, "73 s"),
        (99.6, "1 min 40 s"),
        (102.6, "1 min 43 s"),
        (300, "5 min"),
        (3_599.7, "1 h"),
        (4_320, "1 h 12 min"),
        (86_400, "24 h"),
        (172_799, "48 h"),
        (183_600, "2 d 3 h"),
        (-73.1, "-73 s"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("dollars", "words"),
    [
        (0, "$0"),
        (1e-9, "under $0.000001"),
        (0.0004, "$0.00040"),
        (0.00043583, "$0.00044"),
        (0.0311, "$0.031"),
        (0.0996, "$0.10"),
        (0.34, "$0.34"),
        (2.5567, "$2.56"),
        (999.999, "$1,000"),
        (12_345.6, "$12,346"),
        (-0.5, "-$0.50"),
    ],
)
def test_small_sums_keep_digits_and_large_ones_lose_cents(dollars: float, words: str) -> None:
    assert usd(dollars) == words


@given(st.floats(1e-6, 1e7))
def test_no_cost_is_shown_as_nothing(dollars: float) -> None:
    shown = float(usd(dollars).lstrip("$").replace(",", ""))
    assert shown == pytest.approx(dollars, rel=0.06)


@given(st.floats(1e-6, 1e7))
def test_a_duration_is_rounded_by_a_hundredth_at_most_above_the_small_ones(seconds: float) -> None:
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86_400}
    parts = re.findall(r"([\d.,]+) (\S+)", duration(seconds))
    shown = sum(float(number.replace(",", "")) * units[unit] for number, unit in parts)
    assert shown == pytest.approx(seconds, rel=0.06 if seconds < 60 else 0.01)


def test_only_all_is_called_a_hundred_per_cent() -> None:
    assert [share(p) for p in (0, 0.0004, 0.5, 0.973, 0.99951, 1)] == [
        "0 %",
        "under 0.1 %",
        "50 %",
        "97.3 %",
        "over 99.9 %",
        "100 %",
    ]


def test_counts_and_changes_and_sizes_read_as_a_person_says_them() -> None:
    assert [count(1, "node"), count(15_625, "step"), count(2, "loss", "losses")] == [
        "1 node",
        "15,625 steps",
        "2 losses",
    ]
    assert [change(r, "longer", "shorter") for r in (1.19, 0.5, 1.001)] == [
        "19 % longer",
        "50 % shorter",
        "as predicted",
    ]
    assert [size(1_470_852), size(999_600), size(0)] == ["1.47 MB", "1 MB", "0 B"]
    assert operations(34_965_047) == "35 MFLOP"


# --------------------------------------------------------------------------------------- plan


def test_the_first_sentence_says_what_to_do_how_long_and_for_how_much(job: PlannedJob) -> None:
    predicted = job.chosen.predicted
    setting = f"batch {job.chosen.global_batch}"
    if job.chosen.global_batch != job.chosen.per_device_batch:
        setting += f", {job.chosen.per_device_batch} a device"
    assert train_sentence(job) == (
        f"Train {job.name} on this machine ({job.chosen.offer.instance_type}) with {setting}: it will take about {duration(predicted.time_s.p50)} (90 % sure "
        f"under {duration(predicted.time_s.p90)}) and cost about {usd(predicted.cost_usd.mean)} "
        f"(90 % sure under {usd(predicted.cost_usd.p90)})."
    )


def test_the_second_sentence_says_what_this_machine_can_do(job: PlannedJob) -> None:
    assert "machine at hand" in here_sentence(job)
    assert here_sentence(elsewhere(job)).startswith("On this machine the best is batch")
    none = elsewhere(job).model_copy(update={"runnable_here": None})
    assert here_sentence(none) == "This machine cannot train it."
    late = elsewhere(job).model_copy(update={"runnable_here_keeps_constraints": False})
    assert here_sentence(late).endswith(f"does not keep what was asked for ({limits(job)}).")


def test_a_transferred_prediction_is_called_unmeasured(job: PlannedJob) -> None:
    assert basis_warning(job) is None
    warning = basis_warning(elsewhere(job))
    assert warning is not None
    assert warning.startswith("Nothing was measured on")


def test_each_candidate_stands_once_in_the_table_and_on_the_front(job: PlannedJob) -> None:
    for one in (job, elsewhere(job), job.model_copy(update={"runners_up": (job.chosen,)})):
        found = [identity(row.candidate) for row in rows(one)]
        assert len(found) == len(set(found))
        points = frontier(one).points
        everyone = {identity(c) for c in (one.chosen, *one.frontier, *one.runners_up)}
        if one.runnable_here is not None:
            everyone.add(identity(one.runnable_here))
        assert len(points) == len(everyone)
        assert [point.mark for point in points].count("chosen") == 1


def test_the_front_holds_the_plans_own_figures(job: PlannedJob) -> None:
    point = next(point for point in frontier(job).points if point.mark == "chosen")
    predicted = job.chosen.predicted
    assert (point.time_p50_s, point.time_p90_s) == (predicted.time_s.p50, predicted.time_s.p90)
    assert point.cost_mean_usd == predicted.cost_usd.mean
    assert point.flexibility == predicted.flexibility
    assert point.lines[-1] == f"basis: {job.chosen.basis}"


def test_the_front_is_drawn_whole_and_on_logarithms_where_it_spans_much(job: PlannedJob) -> None:
    info = frontier(job)
    figure = draw_frontier(info).figure
    drawn = [(x, y) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)]
    assert {(p.time_p90_s, p.cost_mean_usd) for p in info.points} <= set(drawn)
    assert (figure.layout.yaxis.type == "log") == info.log_cost


def test_the_cost_bars_add_up_to_the_mean_cost(job: PlannedJob) -> None:
    for bar, row in zip(cost_bars(job), rows(job), strict=True):
        assert bar.total_usd == pytest.approx(row.candidate.predicted.cost_usd.mean, rel=1e-6)


@given(st.floats(1e-3, 1e7), st.floats(1.0, 1e6))
def test_axes_have_few_ticks_and_at_least_one_in_the_range(low: float, span: float) -> None:
    values = [low, low * span]
    assert needs_log(values) == (values[1] / values[0] >= LOG_FROM)
    for made in (time_axis("time", values), usd_axis("cost", values)):
        assert 1 <= len(made["tickvals"]) <= MOST_TICKS + 1
        assert len(set(made["ticktext"])) == len(made["ticktext"])


# --------------------------------------------------------------------------------- rehearsals


def test_the_rehearsals_histogram_keeps_its_whole_mass(simulation: Simulation) -> None:
    for info in (*finish_futures(simulation), *cost_futures(simulation)):
        assert sum(info.shares) + info.beyond == pytest.approx(1)
        assert info.edges[0] <= info.p50 <= info.edges[-1]


@given(st.lists(st.floats(0, 1e6), min_size=101, max_size=101))
def test_any_quantiles_become_shares_that_add_up(values: list[float]) -> None:
    quantiles = sorted(values)
    edges, shares = histogram(quantiles)
    assert min(shares) >= -1e-12
    assert sum(shares) == pytest.approx(share_below(quantiles, edges[-1]))


def test_a_long_tail_is_cut_off_and_said_so(simulation: Simulation) -> None:
    found = simulation.finish_s
    tail = found.model_copy(update={"quantiles": (*found.quantiles[:-1], 1e6)})
    job = simulation.jobs[0].model_copy(update={"finish_s": tail})
    info = finish_futures(simulation.model_copy(update={"jobs": (job,)}))[0]
    assert info.edges[-1] < 1e6
    assert "lie further right, up to 11 d 14 h" in draw_futures(info).caption


def test_the_title_says_how_often_the_deadline_is_kept(simulation: Simulation) -> None:
    info = finish_futures(simulation)[0]
    assert info.limit is not None
    assert draw_futures(info).title.endswith(
        f"{share(simulation.jobs[0].p_deadline or 0)} keep the deadline of {duration(info.limit)}"
    )


def test_the_closed_forms_quantiles_stand_beside_the_rehearsed(simulation: Simulation) -> None:
    info = finish_futures(simulation)[0]
    assert info.predicted == simulation.jobs[0].predicted_time_s
    lines = {trace.name: trace.x for trace in draw_futures(info).figure.data if trace.name}
    assert info.predicted is not None
    assert {info.predicted.p50, info.predicted.p90} <= set(lines["predicted: median, 90 %"])


def test_several_jobs_are_shown_together_and_apart(plan: Plan) -> None:
    two = plan.model_copy(update={"jobs": (plan.jobs[0], renamed(plan, "second").jobs[0])})
    found = finish_futures(rehearse(two, replications=20))
    assert [info.name for info in found] == ["all jobs", plan.jobs[0].name, "second"]


def test_futures_that_never_end_are_owned_up_to(simulation: Simulation) -> None:
    assert hopeless_sentence(simulation) is None
    lost = simulation.model_copy(update={"unfinished": 7})
    assert (hopeless_sentence(lost) or "").startswith("7 of 100 futures never reached the target")
    assert rehearsal_sentence(simulation).startswith("Rehearsed 100 times, the plan is done in")


def test_the_timeline_tells_starting_from_waiting_and_training() -> None:
    events = [
        (0.0, "provision", 0),
        (0.0, "provision", 1),
        (2.0, "ready", 0),
        (3.0, "ready", 1),
        (3.0, "work", None),
        (10.0, "lost", 1),
        (10.0, "provision", 1),
        (14.0, "ready", 1),
        (15.0, "restored", None),
        (20.0, "finished", None),
    ]
    info = gantt(
        Timeline.model_validate(
            {
                "job": "a",
                "nodes": 2,
                "events": [
                    TimelineEvent.model_validate({"at_s": at_s, "kind": kind, "node": node})
                    for at_s, kind, node in events
                ],
            }
        )
    )
    told = {(one.node, one.state, one.start_s, one.end_s) for one in info.stretches}
    assert told == {
        (0, "starting", 0, 2),
        (0, "waiting", 2, 3),
        (0, "training", 3, 10),
        (0, "waiting", 10, 15),
        (0, "training", 15, 20),
        (1, "starting", 0, 3),
        (1, "training", 3, 10),
        (1, "starting", 10, 14),
        (1, "waiting", 14, 15),
        (1, "training", 15, 20),
    }
    assert info.losses == ((1, 10.0),)
    assert info.finished


# --------------------------------------------------------------------------------------- runs


def test_predicted_stands_against_measured(run: Run) -> None:
    found = {one.quantity: one for one in comparisons(run)}
    assert found["throughput"].ratio == pytest.approx(0.95)
    assert found["time"].ratio == pytest.approx(1.2)
    assert found["cost"].ratio == pytest.approx(1.2)
    # 32,000 samples at 6,400, 5,000 and 4,000 a second: 5, 6.4 and 8 s of the 10 s predicted.
    assert found["time"].low == pytest.approx(8.6)
    assert found["time"].high == pytest.approx(11.6)


def test_the_run_is_told_in_a_sentence_with_the_machines_noise(run: Run) -> None:
    assert run_sentence(run) == (
        f"The run of {run.job} finished 1,000 of 1,000 steps in 12 s for $0.000060, "
        "20 % longer than predicted and its steps 5 % slower, with 1 restart."
    )
    assert "between 15 % slower and 18 % faster" in (noise_sentence(run) or "")
    assert (noise_sentence(run) or "").endswith("is within that.")
    quiet = run.model_copy(update={"repeat_noise": 0.01})
    assert (noise_sentence(quiet) or "").endswith("is more than that.")


def test_a_run_without_figures_still_has_a_page(run: Run) -> None:
    nothing = RunFigures(samples_per_s=None, time_s=None, cost_usd=None)
    bare = run.model_copy(
        update={
            "status": "interrupted",
            "steps": 3,
            "measured": nothing,
            "losses": (),
            "step_times": (),
            "recoveries": (),
            "restarts": 0,
            "test": None,
            "repeat_noise": None,
        }
    )
    assert draw_comparisons(bare) is draw_losses(bare) is draw_step_times(bare) is None
    assert noise_band(bare) is None
    assert noise_sentence(bare) is None
    assert run_sentence(bare) == (f"The run of {run.job} was interrupted after 3 of 1,000 steps.")
    assert "was interrupted after" in render([bare])


def test_restarts_part_the_step_times(run: Run) -> None:
    before, after = between_restarts(run)
    assert before[-1].at_s <= run.recoveries[0].at_s < after[0].at_s
    assert len(before) + len(after) == len(run.step_times)
    drawing = draw_step_times(run)
    assert drawing is not None
    assert drawing.title.endswith("1 restart")


# ------------------------------------------------------------------------------------ profiles


def test_a_profiles_curves_differ_in_their_batch_alone(profile: Profile) -> None:
    found = curves(profile)
    assert common_words(found) == ("CPU", "float32", "multi worker mirrored")
    assert [[point.per_device_batch for point in curve.points] for curve in found] == [
        [32, 64, 128],
        [32],
        [16, 64],
    ]
    point, one = found[0].points[0], profile.measurements[0]
    assert point.samples_per_s == one.samples_per_s
    assert point.ci95[1] == pytest.approx(one.setting.global_batch / one.step_time_s.ci95[0])
    assert [trace.name for trace in draw_curves(found).figure.data] == [
        "plain",
        "XLA",
        "2 workers a node",
    ]


# ---------------------------------------------------------------------------------------- page


class Elements(HTMLParser):
    """Start tags of a page, and its figures' data."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._inside = found.get("id") == "figures"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.figures = json.loads(gzip.decompress(base64.b64decode(data)))
            self._inside = False

    def count(self, tag: str, **wanted: str) -> int:
        return sum(
            name == tag and all(attrs.get(key) == value for key, value in wanted.items())
            for name, attrs in self.tags
        )


KINDS = ("plan", "simulation", "run", "profile")


@pytest.mark.parametrize(
    "kinds",
    [kinds for size in range(1, 5) for kinds in combinations(KINDS, size)],
    ids="+".join,
)
def test_any_documents_make_a_page_of_their_sections(
    kinds: tuple[str, ...], documents: dict[str, Document]
) -> None:
    page = render([documents[kind] for kind in kinds])
    assert len(page.encode()) < LARGEST_PAGE_BYTES
    for kind, title in zip(
        KINDS, ("The plan", "The rehearsal", "The run of", "The profile of"), strict=True
    ):
        assert (re.search(rf"<h2[^>]*>{title}", page) is not None) == (kind in kinds)
    elements = Elements(page)
    figures = [json.loads(text) for text in elements.figures]
    assert len(figures) == sum(attrs.get("class") == "chart" for _, attrs in elements.tags) > 0
    assert all(attrs["aria-label"] for _, attrs in elements.tags if attrs.get("class") == "chart")


def test_a_page_asks_for_nothing_from_the_network(documents: dict[str, Document]) -> None:
    page = render(list(documents.values()))
    elements = Elements(page)
    for tag, attrs in elements.tags:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}
        assert not {"src", "srcset", "action", "poster"} & attrs.keys(), (tag, attrs)
        assert (attrs.get("href") or "#").startswith("#"), (tag, attrs)
    assert not re.search(r"url\(|@import", page)
    policy = next(
        attrs["content"] or ""
        for tag, attrs in elements.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy.replace("style-src-attr 'unsafe-inline'", "")


def test_names_run_nothing_wherever_they_stand(documents: dict[str, Document], plan: Plan) -> None:
    named = renamed(plan, EVIL)
    chosen = named.jobs[0].runners_up[0]
    chosen = chosen.model_copy(
        update={"offer": chosen.offer.model_copy(update={"instance_type": EVIL, "source": EVIL})}
    )
    named = named.model_copy(
        update={"jobs": (named.jobs[0].model_copy(update={"chosen": chosen}),), "command": EVIL}
    )
    page = render(
        [
            named,
            rehearse(named, replications=10),
            documents["run"].model_copy(update={"job": EVIL, "data": EVIL}),
            documents["profile"].model_copy(update={"workload": EVIL}),
        ],
        title=EVIL,
    )
    harmless = Elements(render(list(documents.values()), title="a"))
    elements = Elements(page)
    assert "window.ran=1</script>" not in page
    assert elements.count("script") == harmless.count("script")
    assert elements.count("img") == 0
    assert not any(key.startswith("on") for _, attrs in elements.tags for key in attrs)
    assert "{{7*7}}" in page
    assert len(elements.figures) == len(harmless.figures)


def test_prices_and_their_dates_and_the_proof_are_on_the_page(plan: Plan) -> None:
    page = render([plan.model_copy(update={"command": "isocost optimize w.yaml"})])
    for words in (
        f"between {plan.oldest_price} and {plan.newest_price}",
        "isocost optimize w.yaml",
        "1.2.3",
        f"{plan.solver.candidates:,} candidates",
        "L = 0.4 P + 0.4 C + 0.2 F",
        plan.jobs[0].chosen.offer.source,
    ):
        assert words in page


def test_there_must_be_something_to_report(workload: Workload) -> None:
    with pytest.raises(InputError, match="there is nothing to report"):
        render([])
    with pytest.raises(InputError, match="a workload has no page"):
        render([workload])


def test_the_way_from_the_predicted_to_the_measured_time_adds_up(run: Run) -> None:
    info = waterfall(run)
    assert info is not None
    assert info.predicted_s + sum(part for _, part in info.parts) == pytest.approx(info.measured_s)
    drawing = draw_waterfall(info)
    assert drawing is not None
    assert drawing.title == "From 10 s predicted to 12 s measured"
    bars = drawing.figure.data[0]
    assert bars.base[-1] == 0
    assert [start + length for start, length in zip(bars.base, bars.x, strict=True)][-2:] == (
        pytest.approx([12.0, 12.0])
    )


def test_wall_time_parts_into_steps_and_what_lies_between(run: Run) -> None:
    found = split(run)
    assert len(found) == len(run.step_times) - 1
    for one, (before, after) in zip(found, pairwise(run.step_times), strict=True):
        steps = after.step - before.step
        assert (one.step_s + one.between_s) * steps == pytest.approx(after.at_s - before.at_s)


def test_a_knobs_effect_compares_settings_that_are_alike_but_for_it(profile: Profile) -> None:
    (effect,) = effects(profile)
    assert (effect.knob, effect.measured) == ("XLA", True)
    assert effect.ratio == pytest.approx(0.0063 / 0.0142)
    assert effect.ci95[0] < effect.ratio < effect.ci95[1]


def test_a_roof_is_bound_by_memory_and_then_by_arithmetic(profile: Profile) -> None:
    info = roofline(profile, load().accelerators)
    assert {"T4", "V100", "A100", "H100"} <= {roof.name for roof in info.roofs}
    for roof in info.roofs:
        if roof.bytes_s is None:
            continue
        ridge = roof.flops / roof.bytes_s
        assert roof.at(ridge / 2) == pytest.approx(roof.flops / 2)
        assert roof.at(2 * ridge) == roof.flops
    one = profile.measurements[0]
    assert info.reached[0][1] == pytest.approx(one.samples_per_s * profile.facts.flops_per_sample)


def test_a_pipeline_shows_when_each_job_runs_and_what_moves(plan: Plan) -> None:
    first = renamed(plan, "prepare").jobs[0]
    pipeline = Pipeline(
        start_s=(0.0, 500.0),
        makespan_s=900.0,
        cost_usd=0.002,
        moved_usd=0.001,
        total=0.1,
        moves=(
            Move(
                from_job="prepare",
                to_job=plan.jobs[0].name,
                bytes=1e9,
                source="aws:us-east-1",
                target="gcp:us-east1",
                usd=0.001,
                seconds=3.0,
            ),
        ),
    )
    two = plan.model_copy(update={"jobs": (first, plan.jobs[0]), "pipeline": pipeline})
    found = lanes(two)
    assert [(lane.name, lane.start_s) for lane in found] == [
        ("prepare", 0.0),
        (plan.jobs[0].name, 500.0),
    ]
    page = render([two])
    assert "all are done within 15\u00a0min" in page
    assert f"prepare to {plan.jobs[0].name}" in page
    assert "The plan for prepare" in page


def test_names_that_steer_the_direction_of_text_are_set_apart_in_sentences(plan: Plan) -> None:
    sentence = train_sentence(renamed(plan, "a\u202eb").jobs[0])
    assert "Train \u2068a\u202eb\u2069 on" in sentence


# ------------------------------------------------------------------------------------- export


def test_each_figure_is_exported_under_a_name_of_its_own(
    documents: dict[str, Document], tmp_path: Path
) -> None:
    if missing_for_export() is not None:
        pytest.skip(f"figures were not exported: {missing_for_export()}")
    names = [name for name, _ in named_drawings(list(documents.values()))]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{4,80}", name) for name in names)
    written = export([documents["profile"]], tmp_path / "figures", ["svg", "png"])
    assert [path.suffix for path in written] == [".svg", ".png"] * (len(written) // 2)
    assert all(path.stat().st_size > 1_000 for path in written)
    assert b"<svg" in written[0].read_bytes()[:200]
    assert written[1].read_bytes().startswith(b"\x89PNG")


def test_a_missing_browser_or_kaleido_is_said_in_a_sentence(
    documents: dict[str, Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "browser", lambda: None)
    with pytest.raises(InputError, match="neither Chromium nor Chrome was found; install one"):
        export([documents["profile"]], tmp_path, ["png"])
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="kaleido, which is not installed"):
        export([documents["profile"]], tmp_path, ["png"])


# ------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_as_what_it_says_it_is(
    kind: str, documents: dict[str, Document], tmp_path: Path
) -> None:
    path = tmp_path / "document.json"
    documents[kind].write(path)
    assert read_any(path) == documents[kind]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"schema": "isocost/plan/v2"}, r"no page for the schema 'isocost/plan/v2'; did you mean"),
        ({"schema": ["x"]}, "no page for the schema"),
        ({"jobs": []}, "the key 'schema' is missing"),
        ({"schema": "isocost/workload/v1"}, "plan it with 'isocost optimize' first"),
        ({"schema": "isocost/plan/v1"}, "the key 'created' is missing"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(
    content: object, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "document.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence):
        read_any(path)


def test_the_face_is_what_it_says() -> None:
    assert reports.__all__ == ["export", "read_any", "render"]
