"""The policies for adaptive jobs by name. To add one: write a Wish in a file here and list it below."""

from collections.abc import Sequence

from ..adaptive import INTERVAL_S, RESCALE_S, AdaptiveJob, Wish, replay_adaptive, shape
from ..cluster import Cluster
from ..replay import Done, Listen, Replay
from .optimus import optimus
from .pollux import Pollux
from .tiresias import Tiresias

ADAPTIVE = ("tiresias", "optimus", "pollux")


def replay_named(
    name: str,
    trace: Sequence[AdaptiveJob],
    cluster: Cluster,
    *,
    interval_s: float = INTERVAL_S,
    restart_s: float = RESCALE_S,
    listen: Listen | None = None,
    done: Done | None = None,
) -> Replay:
    """Adaptive jobs under one of the ADAPTIVE policies. Raises InputError as replay_adaptive."""
    pollux = Pollux(*shape(cluster), restart_s)
    policies: dict[str, Wish] = {"tiresias": Tiresias(), "optimus": optimus, "pollux": pollux}
    return replay_adaptive(
        trace,
        policies[name],
        cluster,
        name=name,
        interval_s=interval_s,
        restart_s=restart_s,
        tune=pollux.tune if name == "pollux" else None,
        listen=listen,
        done=done,
    )
