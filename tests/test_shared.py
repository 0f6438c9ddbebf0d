"""What several jobs share, over the real catalog and through the command line."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from isocost.catalog import Catalog, Offer
from isocost.catalog.files import InputError
from isocost.optimizer.deciding import Infeasible, decide_together
from isocost.optimizer.optimize import Job, price
from isocost.optimizer.pricing import Priced
from isocost.optimizer.shared import Shared, as_instance, quotas, together
from isocost.profiles.workload import Weights, Workload

from .conftest import EXAMPLE, Command, document


@pytest.fixture
def jobs(workload: Workload, catalog: Catalog, local: Offer) -> list[Priced]:
    """The example three times, with different weights, on the built-in offers."""
    whole = catalog.with_offer(local)
    weights = (
        Weights(alpha=1, beta=0, gamma=0),
        Weights(alpha=0.6, beta=0.4, gamma=0),
        Weights(alpha=0.2, beta=0.8, gamma=0),
    )
    return [price(Job(workload, Path()), whole, one) for one in weights]


def test_a_quota_sends_jobs_elsewhere_and_never_lowers_l(jobs: list[Priced]) -> None:
    free = together(jobs, Shared())
    assert free.chosen is not None
    offers = jobs[0].catalog.offers["provider"]
    taken = [offers[int(one.candidates.offer[k])] for one, k in zip(jobs, free.chosen, strict=True)]
    first = taken[0]
    assert first != "local"
    barred = together(jobs, Shared(quotas={first: 0}))
    assert barred.chosen is not None
    now = [offers[int(one.candidates.offer[k])] for one, k in zip(jobs, barred.chosen, strict=True)]
    assert first not in now
    assert free.answer is not None
    assert barred.answer is not None
    assert barred.answer.objective > free.answer.objective


def test_every_shared_limit_is_kept(jobs: list[Priced]) -> None:
    shared = Shared(budget_usd=0.5, hourly_usd=5.0, max_share=0.5)
    found = together(jobs, shared)
    assert found.chosen is not None
    assert found.answer is not None
    assert found.answer.gap <= 1e-6
    table = jobs[0].catalog.offers["provider"]
    usd: dict[str, float] = {}
    hourly = 0.0
    for one, k in zip(jobs, found.chosen, strict=True):
        name = table[int(one.candidates.offer[k])]
        usd[name] = usd.get(name, 0.0) + float(one.candidates.cost_mean_usd[k])
        hourly += float(one.candidates.nodes[k] * one.candidates.price_usd_h[k])
    assert sum(usd.values()) <= 0.5
    assert max(usd.values()) <= 0.5 * sum(usd.values()) * (1 + 1e-9)
    assert hourly <= 5.0 * (1 + 1e-9)


def test_this_machine_serves_one_job(jobs: list[Priced]) -> None:
    instance, _ = as_instance(jobs, Shared())
    (machine,) = (limit for limit in instance.limits if limit.name == "owned")
    found = together(jobs, Shared())
    assert found.answer is not None
    assert found.answer.chosen is not None
    assert machine.used(found.answer.chosen)[0] <= 1


@pytest.mark.parametrize(
    "shared",
    [Shared(budget_usd=1e-4), Shared(hourly_usd=0.001)],
    ids=["budget", "hourly"],
)
def test_the_smallest_relaxation_is_enough_and_no_smaller_one_is(
    jobs: list[Priced], shared: Shared
) -> None:
    with pytest.raises(Infeasible, match="possible again with") as caught:
        decide_together(jobs, shared)
    (least,) = (
        float(text)
        for text in re.findall(r"(?:budget|with|share)(?: of)? ([\d.]+)", str(caught.value))
    )
    which = next(
        name for name in ("budget_usd", "hourly_usd", "max_share") if getattr(shared, name)
    )
    enough = together(jobs, replace(shared, **{which: least}))  # type: ignore[arg-type]
    assert enough.chosen is not None
    if which != "max_share":  # of shares the smallest is not promised
        less = replace(shared, **{which: max(0.0, least - 0.01)})  # type: ignore[arg-type]
        assert together(jobs, less).chosen is None


def test_a_share_that_is_too_small_for_so_few_jobs_says_which_would_do(jobs: list[Priced]) -> None:
    with pytest.raises(Infeasible, match=r"a largest share of (0\.\d+|1) instead of 0\.2"):
        decide_together(jobs, Shared(max_share=0.2))


def test_a_quota_of_what_nobody_offers_is_a_sentence(jobs: list[Priced]) -> None:
    with pytest.raises(InputError, match="accelerator 'awz'"):
        together(jobs, Shared(quotas={"awz": 1}))
    with pytest.raises(InputError, match="not NAME=NODES"):
        quotas(["aws:8"])


def test_the_command_plans_several_jobs_and_says_why_it_cannot(
    isocost: Command, tmp_path: Path
) -> None:
    names = []
    for name in ("one", "two"):
        text = re.sub(r"(?m)^name:.*$", f"name: {name}", EXAMPLE.read_text(encoding="utf-8"))
        names.append(tmp_path / f"{name}.yaml")
        names[-1].write_text(text, encoding="utf-8")
    planned = isocost("optimize", *names, "--max-share", "0.6", "--quota", "aws=1", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = document(planned.stdout)
    assert [job["name"] for job in plan["jobs"]] == ["one", "two"]  # type: ignore[attr-defined]
    solver = plan["solver"]
    assert isinstance(solver, dict)
    assert solver["status"] == "optimal"
    refused = isocost("optimize", *names, "--total-budget", "0.0001", "--json")
    assert refused.returncode == 3
    assert "total budget of" in refused.stderr
    remedies = document(refused.stdout)["relaxations"]
    enough = str(remedies[0]["changes"]["budget"])  # type: ignore[index]
    assert isocost("optimize", *names, "--total-budget", enough).returncode == 0
