"""Workloads that wait for each other, over real offers: against trying all, and through the command."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from isocost.catalog import Catalog, Offer
from isocost.catalog.files import InputError
from isocost.optimizer.deciding import Infeasible, NotProven, decide_together
from isocost.optimizer.optimize import Job, optimize, price
from isocost.optimizer.pipeline import as_pipeline, plan_pipeline, waits
from isocost.optimizer.plan import Plan
from isocost.optimizer.shared import Shared, Together, as_instance
from isocost.optimizer.solver import Status
from isocost.profiles.workload import Weights, Workload

from .conftest import EXAMPLE, Command, document

TIB = 2**40


def named(workload: Workload, name: str, *after: tuple[str, float], **wishes: object) -> Workload:
    """The example under another name, behind others, with other constraints."""
    content = workload.model_dump(by_alias=True)
    content["name"] = name
    content["after"] = [{"job": job, "bytes": volume} for job, volume in after]
    content["constraints"] = wishes
    return Workload.parse(content, name)


def planned(jobs: Sequence[Workload], catalog: Catalog, local: Offer, shared: Shared) -> Plan:
    return optimize([Job(one, Path()) for one in jobs], catalog, local, shared=shared)


@pytest.mark.parametrize("budget", [None, 1.5])
def test_a_pipeline_over_real_offers_is_the_best_of_all_pairs(
    workload: Workload, catalog: Catalog, local: Offer, budget: float | None
) -> None:
    jobs = [
        named(workload, "first", providers=["aws"], max_nodes=1),
        named(workload, "then", ("first", 3e9), providers=["gcp", "azure"], max_nodes=1),
    ]
    whole = catalog.with_offer(local)
    priced = [
        price(Job(one, Path()), whole, Weights(alpha=0.5, beta=0.3, gamma=0.2)) for one in jobs
    ]
    found, shared = waits(jobs), Shared(budget_usd=budget)
    plan = plan_pipeline(priced, found, shared)
    assert plan.summary is not None
    pipeline, rows, _, beside = as_pipeline(priced, found, shared)
    a, b = (slice(*pipeline.instance.start[k : k + 2]) for k in (0, 1))
    (edge,) = pipeline.edges
    pair = np.ix_(pipeline.place[a], pipeline.place[b])
    t, loss = pipeline.time_s, pipeline.instance.loss
    total = loss[a][:, None] + loss[b][None, :] + edge.price[pair] + beside
    total += pipeline.per_second * (t[a][:, None] + edge.seconds[pair] + t[b][None, :])
    usd = [one.candidates.cost_mean_usd[kept] for one, kept in zip(priced, rows, strict=True)]
    spent = usd[0][:, None] + usd[1][None, :] + edge.usd[pair]
    if budget is not None:
        total[spent > budget] = np.inf
        assert plan.summary.cost_usd <= budget
    assert plan.summary.total == pytest.approx(total.min(), abs=1e-6)
    best = np.unravel_index(total.argmin(), total.shape)
    assert plan.summary.cost_usd == pytest.approx(float(spent[best]), rel=1e-3)


def test_more_data_out_of_aws_cost_more_tier_by_tier(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    first = named(workload, "first", providers=["aws"])
    moved = []
    for volume in (20 * TIB, 60 * TIB):
        then = named(workload, "then", ("first", volume), providers=["gcp"])
        plan = planned([first, then], catalog, local, Shared())
        assert plan.solver.status == "optimal"
        assert plan.pipeline is not None
        (move,) = plan.pipeline.moves
        source, target = (tuple(place.split(":", 1)) for place in (move.source, move.target))
        assert move.source.startswith("aws:")
        assert move.usd == catalog.transfer.usd(volume, source, target)  # type: ignore[arg-type]
        assert move.seconds == pytest.approx(volume * 8 / 5e9)
        each = sum(job.chosen.predicted.cost_usd.mean for job in plan.jobs)
        assert plan.pipeline.cost_usd == pytest.approx(each + move.usd)
        assert plan.pipeline.start_s[1] == pytest.approx(
            plan.jobs[0].chosen.predicted.time_s.p90 + move.seconds
        )
        moved.append(move.usd)
    assert 0 < moved[0] < moved[1] < 3 * moved[0]  # the later tiers are cheaper


def test_an_impossible_pipeline_says_what_would_be_enough(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    first = named(workload, "first", providers=["aws"])
    then = named(workload, "then", ("first", 1 * TIB), providers=["gcp"])
    with pytest.raises(Infeasible, match=r"a total budget of ([\d.]+) USD") as caught:
        planned([first, then], catalog, local, Shared(budget_usd=5))
    least = float(str(caught.value).split("budget of ")[1].split()[0])
    assert planned([first, then], catalog, local, Shared(budget_usd=least)).pipeline is not None
    with pytest.raises(Infeasible):
        planned([first, then], catalog, local, Shared(budget_usd=least - 0.02))
    late = named(workload, "then", ("first", 1 * TIB), providers=["gcp"], deadline_s=1200)
    with pytest.raises(Infeasible, match=r"a deadline of (\d+) s for then") as caught:
        planned([first, late], catalog, local, Shared())
    seconds = int(str(caught.value).split("deadline of ")[1].split()[0])
    document = caught.value.document()
    assert {"deadline_s of then": seconds} in [one.changes for one in document.relaxations]
    enough = named(workload, "then", ("first", 1 * TIB), providers=["gcp"], deadline_s=seconds)
    plan = planned([first, enough], catalog, local, Shared())
    assert plan.pipeline is not None
    assert plan.pipeline.makespan_s <= seconds


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"a": ["b"], "b": ["a"]}, "a waits for b waits for a"),
        ({"a": [], "b": ["b"]}, "b: after names the job itself"),
        ({"a": [], "b": ["aa"]}, "which is none of the workloads given.*'a'"),
        ({"a": [], "b": ["a", "a"]}, "'a' twice"),
    ],
)
def test_names_that_cannot_be_are_a_sentence(
    workload: Workload, after: dict[str, list[str]], said: str
) -> None:
    jobs = [named(workload, name, *((one, 1.0) for one in names)) for name, names in after.items()]
    with pytest.raises(InputError, match=said):
        waits(jobs)


def test_jobs_planned_one_by_one_never_share_this_machine(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    jobs = [Job(named(workload, name), Path()) for name in ("one", "two")]
    plan = optimize(jobs, catalog, local, weights=Weights(alpha=0, beta=1, gamma=0))
    here = [job.chosen.offer.provider == "local" for job in plan.jobs]
    assert sum(here) <= 1
    priced = [
        price(job, catalog.with_offer(local), Weights(alpha=0, beta=1, gamma=0)) for job in jobs
    ]
    (owned,) = (one for one in as_instance(priced, Shared())[0].limits if one.name == "owned")
    assert owned.at_most.tolist() == [1.0]


def test_time_that_is_up_is_not_called_impossible(
    workload: Workload, catalog: Catalog, local: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    priced = [price(Job(workload, Path()), catalog.with_offer(local), Weights())]
    nothing = Together(None, Status.NO_ANSWER, None, 1)
    monkeypatch.setattr("isocost.optimizer.deciding.together", lambda *_: nothing)
    with pytest.raises(NotProven, match="not proven") as caught:
        decide_together(priced, Shared(max_share=0.5))
    assert caught.value.exit_code == 4


def test_the_command_plans_a_pipeline(isocost: Command, tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace("name: cifar10-cnn", "name: {name}")
    first, then = tmp_path / "first.yaml", tmp_path / "then.yaml"
    first.write_text(text.replace("{name}", "first"), encoding="utf-8")
    then.write_text(
        text.replace("{name}", "then") + "after: [{job: first, bytes: 20e9}]\n", encoding="utf-8"
    )
    shown = isocost("optimize", first, then, "-o", tmp_path / "plan.json")
    assert shown.returncode == 0, shown.stderr
    assert "first > then" in shown.stdout
    plan = document((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert plan["pipeline"]["moves"][0]["bytes"] == 20e9  # type: ignore[index]
    alone = isocost("optimize", then)
    assert alone.returncode == 2
    assert "none of the workloads given" in alone.stderr


def test_a_pipeline_over_an_imported_list_goes_where_the_list_is_cheaper(
    isocost: Command, tmp_path: Path
) -> None:
    """Two cheap offers in regions that no built-in offer is in: the pipeline takes them, and their move."""
    (tmp_path / "list.csv").write_text(
        "provider,region,zones,instance_type,accelerator,accelerator_count,vcpus,memory_gib,"
        "network_gbps,on_demand_usd_h,price_date,source\n"
        "aws,mx-central-1,a b,g5.xlarge,A10G,1,4,16,10,0.06,2026-07-20,list\n"
        "gcp,northamerica-south1,a b,g2-standard-4,L4,1,4,16,10,0.06,2026-07-20,list\n",
        encoding="utf-8",
    )
    done = isocost("catalog", "import", "list.csv")
    assert done.returncode == 0, done.stderr
    text = EXAMPLE.read_text(encoding="utf-8")
    names = []
    for name, more in (("first", ""), ("then", "after: [{job: first, bytes: 20e9}]\n")):
        names.append(tmp_path / f"{name}.yaml")
        text_of = re.sub(r"(?m)^name:.*$", f"name: {name}", text) + more
        names[-1].write_text(text_of, encoding="utf-8")
    arguments = ("optimize", *names, "--beta", "1", "--catalog", "imported", "--json")
    both = ("--offers", "provider IN ('aws', 'gcp')")
    done = isocost(*arguments, *both, "--quota", "aws=1", "--quota", "gcp=1")
    assert done.returncode == 0, done.stderr
    plan = Plan.model_validate_json(done.stdout)
    taken = {job.chosen.offer.region for job in plan.jobs}
    assert taken == {"mx-central-1", "northamerica-south1"}
    assert plan.pipeline is not None
    (move,) = plan.pipeline.moves
    assert move.usd > 0
    assert plan.solver.status == "optimal"
