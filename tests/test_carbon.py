"""Carbon of a plan: stated, kept within a limit, and relaxed where nothing keeps it."""

import numpy as np
import pytest

from isocost.catalog import Catalog, Offer
from isocost.catalog.footprint import grams_co2e_per_h
from isocost.optimizer.optimize import Infeasible, Job, optimize
from isocost.optimizer.plan import PlannedCandidate
from isocost.profiles.workload import Weights, Workload

from .conftest import EXAMPLE

RENTED = {"deadline_s": None, "budget_usd": None, "forbidden_providers": ("local",)}


def wishing(workload: Workload, **wishes: object) -> Workload:
    content = workload.model_dump(by_alias=True)
    content["constraints"] = {**content["constraints"], **RENTED, **wishes}
    return Workload.parse(content, "test")


def chosen(workload: Workload, catalog: Catalog, local: Offer) -> PlannedCandidate:
    quick = Weights(alpha=1, beta=0, gamma=0)
    return optimize([Job(workload, EXAMPLE.parent)], catalog, local, weights=quick).jobs[0].chosen


def test_a_plan_states_the_carbon_of_its_nodes_and_hours(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    one = chosen(wishing(workload), catalog, local)
    key = ("provider", "region", "instance_type")
    row = catalog.offers.with_row_index().filter(**{k: getattr(one.offer, k) for k in key})
    grams = grams_co2e_per_h(catalog)[row["index"][0]]
    hours = one.predicted.time_s.mean / 3600
    assert one.predicted.carbon_kg == pytest.approx(one.nodes * hours * grams / 1000)


def test_a_limit_on_carbon_is_kept_and_costs_time(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    free = chosen(wishing(workload), catalog, local)
    assert free.predicted.carbon_kg is not None
    limit = free.predicted.carbon_kg / 4
    kept = chosen(wishing(workload, carbon_kg=limit), catalog, local)
    assert kept.predicted.carbon_kg is not None
    assert kept.predicted.carbon_kg <= limit * (1 + 1e-9)
    assert kept.predicted.time_s.p90 >= free.predicted.time_s.p90


def test_no_carbon_at_all_is_infeasible_and_its_relaxation_is_enough(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    wished = wishing(workload, carbon_kg=0)
    with pytest.raises(Infeasible, match="carbon") as refusal:
        chosen(wished, catalog, local)
    relaxed = chosen(refusal.value.relaxations[0].applied(wished), catalog, local)
    assert relaxed.predicted.carbon_kg is not None
    assert np.isfinite(relaxed.predicted.carbon_kg)
