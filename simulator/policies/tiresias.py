"""Tiresias (Gu et al., NSDI 2019) for adaptive jobs, which it treats as rigid: two queues by attained GPU time.

For ordinary traces the same idea is `las-queues` (ranked.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..adaptive import State


@dataclass(slots=True)
class Tiresias:
    """Two queues by GPU time attained: whoever has had limit_gpu_s goes behind all who have not.

    Jobs get all the GPUs they ask for or none; those that do not fit are passed over.
    """

    limit_gpu_s: float = 16 * 3600.0
    queues: tuple[list[State], list[State]] = field(default_factory=lambda: ([], []))
    attained_s: dict[State, float] = field(default_factory=dict)
    running: frozenset[State] = frozenset()
    looked_s: float = 0.0

    def __call__(self, now_s: float, jobs: Sequence[State], gpus: int) -> Mapping[State, int]:
        present, first, second = set(jobs), *self.queues
        first, second = ([one for one in queue if one in present] for queue in (first, second))
        first += [one for one in jobs if one not in self.attained_s]
        for one in jobs:
            had = self.attained_s.get(one, 0.0)
            had += now_s - self.looked_s if one in self.running else 0.0
            self.attained_s[one] = had
            if one in first and had * one.job.num_gpus >= self.limit_gpu_s:
                first.remove(one)
                second.append(one)
        self.queues, self.looked_s = (first, second), now_s
        wishes = {}
        for one in (*first, *second):
            wishes[one] = one.job.num_gpus if one.job.num_gpus <= gpus else 0
            gpus -= wishes[one]
        self.running = frozenset(one for one, count in wishes.items() if count)
        return wishes
