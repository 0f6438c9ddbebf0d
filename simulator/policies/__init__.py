"""The scheduling policies by name. To add one: write it in a file here and list it below."""

from ...catalog.files import InputError, did_you_mean
from ..replay import Policy
from .order import InOrder, by_duration, by_submission

EVENT_POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        InOrder("fifo", by_submission, skip=False),
        InOrder("fifo-skip", by_submission, skip=True),
        InOrder("sjf", by_duration, skip=False),
        InOrder("sjf-skip", by_duration, skip=True),
    )
}


def policy_named(name: str) -> Policy:
    """The policy of that name, in any case, with - or _. Raises InputError."""
    plain = name.lower().replace("_", "-")
    if plain not in EVENT_POLICIES:
        raise InputError(f"there is no policy '{name}'{did_you_mean(plain, EVENT_POLICIES)}")
    return EVENT_POLICIES[plain]
