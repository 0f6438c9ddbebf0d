"""Every way to run one job, as columns: offer x purchase x nodes x batch x knobs.

Cost: nodes * price * billed hours + storage + egress + licence + labour (DESIGN 3.3). A commitment
of one or three years is paid for its whole term, or, where the workload says which share u of it
other work would use as well, by the hour at price / u.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Purchase
from ..profiles.records import Knobs
from .reliability import lognormal_quantile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PURCHASES = tuple(Purchase)
SPOT = PURCHASES.index(Purchase.SPOT)
TERM_H = {Purchase.RESERVED_1Y: 8760.0, Purchase.RESERVED_3Y: 3 * 8760.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """Hardware of one kind at one provider x spot or not x nodes x batch x knobs, as columns.

    ready_s: until all nodes run. paid_h: node-hours that the mean bill counts. other_usd:
    licence and labour together, which no price of an offer touches.
    """

    provider: NDArray[np.int64]  # index into Candidates.providers
    spot: NDArray[np.bool_]
    nodes: Ints
    batch: Ints  # per device
    replicas: Ints
    knobs: Ints
    basis: NDArray[np.uint8]
    step_s: Floats
    step_sigma: Floats
    steps: Ints
    work_s: Floats
    ready_s: Floats
    checkpoint_interval_s: Floats
    interruptions: Floats
    time_mean_s: Floats
    time_variance: Floats
    time_p50_s: Floats
    time_p90_s: Floats
    paid_h: Floats
    paid_p50_h: Floats
    paid_p90_h: Floats
    paid_if_cancelled_h: Floats  # at half of the mean time
    licence_usd: Floats
    labour_usd: Floats

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def other_usd(self) -> Floats:
        return self.licence_usd + self.labour_usd


@dataclass(frozen=True, slots=True)
class Candidates:
    """Columns of equal length; offer is a row of the catalog, knobs an index into knob_sets.

    setting is a row of settings; what depends on it alone is looked up there, column by column, by
    the properties. storage_usd_h: of data and checkpoints, in each row of the catalog.
    commitment_h: of each purchase, the hours a node is paid whatever is used, 0 for none;
    utilisation: the share of them that this job and others use, 0 where only this job does.
    """

    knob_sets: tuple[Knobs, ...]
    providers: tuple[str, ...]
    settings: Settings
    setting: NDArray[np.int32]
    offer: NDArray[np.int32]
    purchase: NDArray[np.int8]  # index into PURCHASES
    price_usd_h: Floats  # of one node
    compute_usd: Floats
    egress_usd: Floats  # of the data, once
    checkpoints_usd: Floats  # moved to where they are kept and back
    cost_mean_usd: Floats
    storage_usd_h: Floats
    commitment_h: Floats
    utilisation: float

    def __len__(self) -> int:
        return len(self.offer)

    @property
    def nodes(self) -> Ints:
        return self.settings.nodes[self.setting]

    @property
    def batch(self) -> Ints:
        return self.settings.batch[self.setting]

    @property
    def replicas(self) -> Ints:
        return self.settings.replicas[self.setting]

    @property
    def knobs(self) -> Ints:
        return self.settings.knobs[self.setting]

    @property
    def basis(self) -> NDArray[np.uint8]:
        return self.settings.basis[self.setting]

    @property
    def step_s(self) -> Floats:
        return self.settings.step_s[self.setting]

    @property
    def step_sigma(self) -> Floats:
        return self.settings.step_sigma[self.setting]

    @property
    def steps(self) -> Ints:
        return self.settings.steps[self.setting]

    @property
    def work_s(self) -> Floats:
        return self.settings.work_s[self.setting]

    @property
    def interruptions(self) -> Floats:
        return self.settings.interruptions[self.setting]

    @property
    def checkpoint_interval_s(self) -> Floats:
        return self.settings.checkpoint_interval_s[self.setting]

    @property
    def time_mean_s(self) -> Floats:
        return self.settings.time_mean_s[self.setting]

    @property
    def time_p50_s(self) -> Floats:
        return self.settings.time_p50_s[self.setting]

    @property
    def time_p90_s(self) -> Floats:
        return self.settings.time_p90_s[self.setting]

    def time_quantile_s(self, probability: float) -> Floats:
        """Wall time that a candidate stays below with that probability."""
        one = self.settings
        return lognormal_quantile(one.time_mean_s, one.time_variance, probability)[self.setting]

    @property
    def storage_usd(self) -> Floats:
        return self.storage_usd_h[self.offer] * (self.time_mean_s / 3600)

    @property
    def licence_usd(self) -> Floats:
        return self.settings.licence_usd[self.setting]

    @property
    def labour_usd(self) -> Floats:
        return self.settings.labour_usd[self.setting]

    @property
    def growing_usd(self) -> Floats:
        """What grows with the work beside the machines' bill."""
        return self.settings.other_usd[self.setting] + self.storage_usd + self.checkpoints_usd

    @property
    def rate_usd_h(self) -> Floats:
        """What an hour of all nodes costs."""
        return self.nodes * self.price_usd_h

    @property
    def cost_p50_usd(self) -> Floats:
        return self._cost(self.settings.paid_p50_h)

    @property
    def cost_p90_usd(self) -> Floats:
        return self._cost(self.settings.paid_p90_h)

    @property
    def cancelled_usd(self) -> Floats:
        """What has been paid if the job ends half-way."""
        return self._cost(self.settings.paid_if_cancelled_h, 0.5)

    def _cost(self, paid_h: Floats, share: float = 1.0) -> Floats:
        """USD where each setting's paid_h are charged, and a share of what grows with the work."""
        charged = charged_h(self, paid_h) * self.price_usd_h
        return charged + share * self.growing_usd + self.egress_usd

    def take(self, rows: NDArray[Any]) -> "Candidates":
        """The candidates in rows, over the same settings."""
        whole = {
            "knob_sets",
            "providers",
            "settings",
            "storage_usd_h",
            "commitment_h",
            "utilisation",
        }
        return replace(
            self,
            **{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in whole},
        )


def charged_h(candidates: Candidates, paid_h: Floats) -> Floats:
    """Node-hours charged where paid_h of each setting are used: those; of a commitment its whole
    terms, or, where a share u of it is used, those / u."""
    term_h = candidates.commitment_h[candidates.purchase]
    charged = paid_h[candidates.setting]
    rows = np.flatnonzero(term_h)
    if candidates.utilisation > 0:
        charged[rows] /= candidates.utilisation
    else:
        whole = term_h[rows] * candidates.settings.nodes[candidates.setting[rows]]
        charged[rows] = np.maximum(np.ceil(charged[rows] / whole), 1.0) * whole
    return charged
