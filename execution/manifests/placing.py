"""Checks of where the workers stand: the planned machines, spot or not, one zone, a slice of TPUs."""

import re
from collections.abc import Iterator

from ...catalog import Purchase
from .findings import Finding, shown
from .gang import Gang
from .order import Contract
from .places import HOST, TPU_TOPOLOGY, TPU_TYPE, ZONE, ground


def place(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Spot where spot was planned, and nowhere else; a slice as large as the gang."""
    known = ground(held.provider)
    required = gang.pod.affinity.nodeAffinity
    terms = (
        required.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
        if required and required.requiredDuringSchedulingIgnoredDuringExecution
        else []
    )
    where = f"{gang.where_pod}.affinity.nodeAffinity"
    spot = held.purchase == Purchase.SPOT
    bought = str(held.purchase).replace("_", " ")
    labels = " or ".join(known.spot)
    selected = {label for label in known.spot if label in gang.pod.nodeSelector}
    asks = [
        any(
            one.key in known.spot
            and one.operator in ("In", "Exists")
            and (one.operator == "Exists" or set(one.values) <= set(known.spot[one.key]))
            for one in term.matchExpressions
        )
        for term in terms
    ]
    shuns = bool(terms) and all(
        all(
            any(
                one.key == label
                and (
                    one.operator == "DoesNotExist"
                    or (one.operator == "NotIn" and set(known.spot[label]) <= set(one.values))
                )
                for one in term.matchExpressions
            )
            for label in known.spot
        )
        for term in terms
    )
    if spot and known.spot and not (selected or (asks and all(asks))):
        yield Finding(
            where,
            "no demand for spot nodes" if not any(asks) else "a term without spot nodes",
            f"nodes with {labels}, for the plan is to buy spot",
            "on other nodes it costs more than planned: ask for that label",
        )
    if not spot and known.spot and (selected or any(asks) or not shuns):
        yield Finding(
            where,
            "a demand for spot nodes" if selected or any(asks) else "spot nodes allowed",
            f"nodes without {labels}, for the plan is to buy {bought}",
            "spot nodes are taken away: exclude them (operator NotIn)",
        )
    tolerated = [
        one
        for one in gang.pod.tolerations
        if known.taint is not None
        and (one.key == known.taint[0] or (one.key is None and one.operator == "Exists"))
        and one.effect in (None, "NoSchedule")
    ]
    if known.taint is not None:
        key, value = known.taint
        fits = [one for one in tolerated if one.operator == "Exists" or one.value == value]
        if spot and not fits:
            yield Finding(
                f"{gang.where_pod}.tolerations",
                shown([one.key for one in gang.pod.tolerations] or None),
                f"{key}={value}:NoSchedule, the taint of spot nodes",
                "without it no spot node takes the pod: add it",
            )
        if not spot and tolerated:
            yield Finding(
                f"{gang.where_pod}.tolerations",
                shown(tolerated[0].key or "all taints"),
                f"no tolerance of spot nodes, for the plan is to buy {bought}",
                "remove it",
            )
    yield from _labels(gang, held)
    yield from _slice(gang, held)


def _labels(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Nodes are found by the labels of the planned machine, region and accelerator."""
    for label, value in held.node.items():
        got = gang.pod.nodeSelector.get(label)
        if got != value:
            yield Finding(
                f"{gang.where_pod}.nodeSelector {label}",
                shown(got),
                f"'{value}', of the planned machine",
                "on another machine its times and prices do not hold: write that",
            )


def _slice(gang: Gang, held: Contract) -> Iterator[Finding]:
    shape, where = gang.pod.nodeSelector.get(TPU_TOPOLOGY), f"{gang.where_pod}.nodeSelector"
    if held.device != "google.com/tpu":
        for label in (TPU_TYPE, TPU_TOPOLOGY):
            if label in gang.pod.nodeSelector:
                yield Finding(f"{where} {label}", "the label of TPU nodes", "none", "remove it")
        return
    if TPU_TYPE not in gang.pod.nodeSelector:
        yield Finding(
            where, f"no {TPU_TYPE}", "the kind of TPU", "GKE places TPU pods by it: add it"
        )
    if shape is None or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        yield Finding(
            f"{where} {TPU_TOPOLOGY}",
            shown(shape),
            "a topology such as 2x4",
            "GKE needs it: add it",
        )
        return
    chips = 1
    for side in shape.split("x"):
        chips *= int(side)
    if chips not in (held.devices, held.devices * held.workers):
        yield Finding(
            f"{where} {TPU_TOPOLOGY}",
            f"'{shape}', {chips} chips",
            f"{held.devices * held.workers} chips, {held.workers} workers with {held.devices}",
            "choose the topology of that size",
        )


def apart(gang: Gang, held: Contract) -> Iterator[Finding]:
    """All workers in one zone, each on a machine of its own: what a plan's times and prices rest on."""
    affinity = gang.pod.affinity
    for name, part, key, words, wanted in (
        (
            "podAffinity",
            affinity.podAffinity,
            ZONE,
            "between zones gradients are slow, and moving them is billed",
            held.nodes > 1,
        ),
        (
            "podAntiAffinity",
            affinity.podAntiAffinity,
            HOST,
            "two workers on one machine would share what the plan gives each",
            held.nodes == held.workers > 1,
        ),
    ):
        where = f"{gang.where_pod}.affinity.{name}"
        rules = part.requiredDuringSchedulingIgnoredDuringExecution if part else []
        found = [one for one in rules if one.topologyKey == key]
        if wanted and not found:
            yield Finding(
                where,
                shown([one.topologyKey for one in rules] or None),
                f"a required rule with topologyKey {key}",
                f"{words}: add it",
            )
        for one in found:
            labels = one.labelSelector.matchLabels if one.labelSelector else {}
            if not labels or any(gang.pod_labels.get(k) != v for k, v in labels.items()):
                yield Finding(
                    f"{where} labelSelector",
                    shown(labels or None),
                    f"labels of the pods ({shown(gang.pod_labels)})",
                    "select by the pods' labels",
                )
