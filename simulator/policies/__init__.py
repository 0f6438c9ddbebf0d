"""The scheduling policies by name. To add one: write it in a file here and list it below.

Those for adaptive jobs are listed in adaptive.py.
"""

from collections.abc import Sequence
from dataclasses import replace as changed

from ...catalog.files import InputError, did_you_mean
from ..cluster import Cluster
from ..collecting import rare_collection
from ..fleet import Outside
from ..fleet_replay import FleetEngine
from ..placed_rounds import PlacedRounds
from ..replay import Done, Listen, Policy, Replay, replay
from ..rounds import Rules, SharePolicy, replay_rounds
from ..speeds import Speeds, Task
from .allox import AlloX
from .loss import LeastLoss
from .order import InOrder, by_duration, by_submission
from .program import Solve, by_pulp, central
from .programs import (
    FinishTimeFairness,
    Optimal,
    makespan,
    makespan_bisected,
    max_min,
    max_min_agnostic,
    max_sum,
    per_dollar,
    per_dollar_in_time,
)
from .ranked import Queues, Ranked, attained, remaining
from .shares import Fifo, Isolated
from .shockwave import Shockwave

NOTHING = Outside()
QUANTUM_S = 60.0
TIRESIAS_LIMIT_GPU_S = 3600.0  # one hour of a GPU, then the second queue

EVENT_POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        InOrder("fifo", by_submission, skip=False),
        InOrder("fifo-skip", by_submission, skip=True),
        InOrder("sjf", by_duration, skip=False),
        InOrder("sjf-skip", by_duration, skip=True),
        Ranked("srtf", remaining),
        Ranked("las", attained, QUANTUM_S),
        Ranked("las-queues", Queues((TIRESIAS_LIMIT_GPU_S,)), QUANTUM_S),
        LeastLoss("isocost"),
    )
}

SHARE_POLICIES: dict[str, SharePolicy] = {
    policy.name: policy
    for policy in (
        Isolated("isolated"),
        Fifo("fifo-perf"),
        Optimal("max-min-fairness", max_min_agnostic, shuffles=True),
        Optimal("max-min-fairness-perf", max_min),
        FinishTimeFairness("finish-time-fairness-perf"),
        Optimal("makespan", makespan),
        Optimal("min-total-duration-perf", makespan_bisected),
        Optimal("max-sum-throughput-perf", max_sum),
        Optimal("max-sum-throughput-normalized-by-cost-perf", per_dollar),
        Optimal("max-sum-throughput-normalized-by-cost-perf-slos", per_dollar_in_time),
        AlloX("allox"),
        Shockwave("shockwave"),
    )
}

ALSO: dict[str, str] = {
    "fifo-strict": "fifo",
    "min-cost": "max-sum-throughput-normalized-by-cost-perf",
    "min-cost-slo": "max-sum-throughput-normalized-by-cost-perf-slos",
    "max-throughput": "max-sum-throughput-perf",
    "max-sum-throughput": "max-sum-throughput-perf",
    "min-total-duration": "min-total-duration-perf",
    "finish-time-fairness": "finish-time-fairness-perf",
}
SOLVERS: dict[str, Solve] = {"interior": central, "highs": by_pulp}


def policy_named(name: str, lp: str = "interior") -> Policy | SharePolicy:
    """The policy of that name, in any case, with - or _. lp: who solves the linear programs.

    Raises InputError.
    """
    if lp not in SOLVERS:
        raise InputError(f"there is no LP solver '{lp}'{did_you_mean(lp, SOLVERS)}")
    plain = name.strip().lower().replace("_", "-")
    plain = ALSO.get(plain, plain)
    if plain in EVENT_POLICIES:
        return EVENT_POLICIES[plain]
    if plain not in SHARE_POLICIES:
        known = [*EVENT_POLICIES, *SHARE_POLICIES, *ALSO]
        raise InputError(f"there is no policy '{name}'{did_you_mean(plain, known)}")
    policy = SHARE_POLICIES[plain]
    if isinstance(policy, Optimal | FinishTimeFairness):
        return changed(policy, solve=SOLVERS[lp])
    return policy


@rare_collection()
def replay_under(
    policy: Policy | SharePolicy,
    trace: Sequence[Task],
    cluster: Cluster,
    speeds: Speeds,
    *,
    rules: Rules | None = None,
    outside: Outside = NOTHING,
    listen: Listen | None = None,
    done: Done | None = None,
) -> Replay:
    """The trace replayed event by event or in rounds, as the policy wants it.

    rules: of the rounds. outside: the seed, of rounds' order of accelerators too, and the world beside the cluster
    file, where machines come and go. See replay, replay_rounds, FleetEngine and PlacedRounds.
    """
    moving, seed = cluster.varies or bool(outside.outages), outside.seed
    if isinstance(policy, SharePolicy):
        if moving or cluster.placement != "pooled":
            given = (trace, cluster, policy, rules or Rules(), seed, listen, done)
            return PlacedRounds(*given, speeds, outside if moving else None).run()
        return replay_rounds(
            trace, cluster, policy, rules=rules, seed=seed, listen=listen, done=done
        )
    if moving:
        return FleetEngine(trace, cluster, policy, speeds, outside, listen, done).run()
    return replay(trace, cluster, policy, speeds, listen=listen, done=done)
