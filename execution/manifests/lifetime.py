"""Checks of how long the workers live: what ends a pod, what starts it again, and when all is over."""

from collections.abc import Iterator

from .findings import Finding, shown
from .forms import REFUSED, STOPPED
from .gang import Gang
from .order import GRACE_S, Contract
from .shapes import PodFailurePolicy


def ending(gang: Gang) -> Iterator[Finding]:
    job, pod = gang.job, gang.pod
    if job.completionMode != "Indexed":
        yield Finding(
            f"{gang.where_job}.completionMode",
            shown(job.completionMode),
            "'Indexed'",
            "a worker learns its rank from its index: write Indexed",
        )
    if pod.restartPolicy != "Never":
        yield Finding(
            f"{gang.where_pod}.restartPolicy",
            shown(pod.restartPolicy),
            "'Never'",
            "a worker that is started again alone waits for peers that are gone, and a failure "
            "policy needs it: write Never",
        )
    grace = pod.terminationGracePeriodSeconds
    if grace is None or grace < GRACE_S:
        yield Finding(
            f"{gang.where_pod}.terminationGracePeriodSeconds",
            shown(grace),
            f"at least {GRACE_S}",
            "a worker that is asked to end saves a checkpoint first: give it the time",
        )
    if pod.activeDeadlineSeconds is not None:
        yield Finding(
            f"{gang.where_pod}.activeDeadlineSeconds",
            shown(pod.activeDeadlineSeconds),
            "none: a pod's deadline starts again with every pod",
            "put it on the job",
        )
    for where, suspended in gang.suspended.items():
        if suspended:
            yield Finding(where, "true", "false or nothing", "it would not start: remove it")
    yield from _policy(gang, job.podFailurePolicy)
    if gang.set_spec is not None:
        yield from _set(gang)


def _policy(gang: Gang, policy: PodFailurePolicy | None) -> Iterator[Finding]:
    where = f"{gang.where_job}.podFailurePolicy"
    rules = policy.rules if policy is not None else []
    ended = [
        rule.onExitCodes
        for rule in rules
        if rule.action == "FailJob" and rule.onExitCodes and rule.onExitCodes.operator == "In"
    ]
    codes = {code for rule in ended for code in rule.values}
    if not codes >= {REFUSED, STOPPED}:
        yield Finding(
            where,
            f"FailJob on exit codes {sorted(codes)}" if codes else "no rule that ends the job",
            f"FailJob on exit codes {REFUSED} (no restart mends it) and {STOPPED} (out of time)",
            "add the rule, or every restart is paid for",
        )
    for rule in rules:
        name = rule.onExitCodes.containerName if rule.onExitCodes else None
        if name is not None and name not in {one.name for one in gang.pod.containers}:
            yield Finding(
                f"{where} containerName",
                shown(name),
                f"the container, {shown(gang.container.name)}",
                "write its name",
            )


def _set(gang: Gang) -> Iterator[Finding]:
    spec, where = gang.set_spec, gang.where_set
    assert spec is not None
    replicated = spec.replicatedJobs
    if len(replicated) > 1:
        yield Finding(
            f"{where}.replicatedJobs",
            f"{len(replicated)} ({', '.join(one.name for one in replicated)})",
            "one: all workers are alike",
            "remove the others",
        )
    if replicated[0].replicas not in (None, 1):
        yield Finding(
            f"{where}.replicatedJobs[0].replicas",
            shown(replicated[0].replicas),
            "1: the gang is one job with an index a worker",
            "write 1, and the number of workers as completions",
        )
    if gang.job.backoffLimit != 0:
        yield Finding(
            f"{gang.where_job}.backoffLimit",
            shown(gang.job.backoffLimit),
            "0: a lost worker restarts the whole set",
            "write 0; restarts are counted in failurePolicy.maxRestarts",
        )
    network = spec.network
    if network is not None and network.enableDNSHostnames is False:
        yield Finding(
            f"{where}.network.enableDNSHostnames",
            "false",
            "true",
            "without names the workers do not find each other: write true",
        )
    if network is not None and network.publishNotReadyAddresses is False:
        yield Finding(
            f"{where}.network.publishNotReadyAddresses",
            "false",
            "true",
            "workers look for each other before they are ready: write true",
        )


def deadlines(gang: Gang, held: Contract) -> Iterator[Finding]:
    for where, seconds in gang.deadlines.items():
        if seconds is None:
            yield Finding(
                where,
                "nothing",
                f"{held.deadline_s}, the deadline in seconds",
                "without it a job that hangs is paid for until somebody sees it: add it",
            )
        elif seconds != held.deadline_s:
            yield Finding(
                where, shown(seconds), f"{held.deadline_s}, the deadline in seconds", "write that"
            )


def restarts(gang: Gang, held: Contract) -> Iterator[Finding]:
    if gang.set_spec is None:
        wanted, got = held.restarts * held.workers, gang.job.backoffLimit
        if got != wanted:
            yield Finding(
                f"{gang.where_job}.backoffLimit",
                shown(got),
                f"{wanted}, {held.restarts} restarts of {held.workers} workers",
                f"write {wanted}: it counts pods",
            )
        return
    policy = gang.set_spec.failurePolicy
    got = None if policy is None else policy.maxRestarts
    if got != held.restarts:
        yield Finding(
            f"{gang.where_set}.failurePolicy.maxRestarts",
            shown(got),
            f"{held.restarts}, the restarts that the plan allows for",
            f"write {held.restarts}",
        )
