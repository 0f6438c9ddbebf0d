"""Several hosts on one machine: network namespaces on one switch, with links of a given rate.

    python benchmarks/hosts.py up --hosts 4 --rate 1gbit     # root; then, for example,
    isocost profile all-reduce --hosts $(python benchmarks/hosts.py list) \\
        --launch "ip netns exec {host}"
    python benchmarks/hosts.py rate 100mbit                  # other links for the same hosts
    python benchmarks/hosts.py down

Each host has its own interface, address and loopback; its link is a token bucket in both directions.
What they share are this machine's processors, memory and files: it is a network that is tested here,
not hosts. Needs root and iproute2.
"""

import argparse
import json
import os
import re
import shutil
import subprocess

SWITCH = "isocost-sw"
PREFIX = "isocost-h"
NETWORK = "10.77.0"
FIRST = 10
BURST_BYTES = 128 * 1024  # about a hundred packets; less, and the bucket limits below its rate
LATENCY = "50ms"  # of queue, before packets are dropped
RATE = re.compile(r"\d+(\.\d+)?(k|m|g)?bit", re.IGNORECASE)


def address(number: int) -> str:
    return f"{NETWORK}.{FIRST + number}"


def name(number: int) -> str:
    return f"{PREFIX}{number}"


def up(hosts: int, rate: str | None) -> None:
    """So many hosts on one switch; what was up before goes first. rate None: links as fast as they go."""
    down()
    _ip("netns", "add", SWITCH)
    try:
        _ip("-n", SWITCH, "link", "add", "br0", "type", "bridge")
        _ip("-n", SWITCH, "link", "set", "br0", "up")
        for number in range(hosts):
            host, ours, port = name(number), f"v{number}", f"p{number}"
            _ip("netns", "add", host)
            _ip(
                "link",
                "add",
                ours,
                "netns",
                host,
                "type",
                "veth",
                "peer",
                "name",
                port,
                "netns",
                SWITCH,
            )
            _ip("-n", host, "addr", "add", f"{address(number)}/24", "dev", ours)
            _ip("-n", host, "link", "set", ours, "up")
            _ip("-n", host, "link", "set", "lo", "up")
            _ip("-n", SWITCH, "link", "set", port, "master", "br0")
            _ip("-n", SWITCH, "link", "set", port, "up")
        shape(rate)
    except BaseException:
        down()
        raise


def shape(rate: str | None) -> None:
    """Give every link this rate, in both directions; None takes the limit away."""
    for number in range(len(standing())):
        for place, device in ((name(number), f"v{number}"), (SWITCH, f"p{number}")):
            bucket = ("tbf", "rate", rate, "burst", str(BURST_BYTES), "latency", LATENCY)
            limit = ("pfifo",) if rate is None else bucket
            _run("tc", "-n", place, "qdisc", "replace", "dev", device, "root", *limit)


def cut(number: int, *, whole: bool = False) -> None:
    """Pull one host's cable; whole: put it back."""
    _ip("-n", SWITCH, "link", "set", f"p{number}", "up" if whole else "down")


def standing() -> list[str]:
    """The hosts that are up, by number."""
    listed = json.loads(_ip("-json", "netns", "list") or "[]")
    numbers = sorted(
        int(one["name"].removeprefix(PREFIX)) for one in listed if one["name"].startswith(PREFIX)
    )
    return [name(number) for number in numbers]


def addresses() -> dict[str, str]:
    """Address of every host that is up."""
    return {host: address(number) for number, host in enumerate(standing())}


def down() -> None:
    """Take away every host and the switch, whatever is left of them."""
    listed = json.loads(_ip("-json", "netns", "list") or "[]")
    for one in listed:
        if one["name"] == SWITCH or one["name"].startswith(PREFIX):
            _ip("netns", "delete", one["name"])


def bytes_s(rate: str) -> float:
    """
    >>> bytes_s("100mbit")
    12500000.0
    """
    number, unit = re.fullmatch(r"([\d.]+)([kmg]?)bit", rate.lower()).groups()  # type: ignore[union-attr]
    return float(number) * {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}[unit] / 8


def missing() -> str | None:
    """Why there can be no hosts here, in a sentence; None where there can."""
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"'{tool}' is not on PATH; install iproute2 (apt-get install iproute2)"
    if os.geteuid() != 0:
        return (
            "network namespaces need root; run this as root, or in a container with CAP_NET_ADMIN"
        )
    return None


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted = parser.add_subparsers(dest="command", required=True)
    opened = wanted.add_parser("up", help="make the hosts")
    opened.add_argument("--hosts", type=int, default=4, help="2 to 16 (default 4)")
    opened.add_argument(
        "--rate", default=None, help="of each link, such as 1gbit; default no limit"
    )
    wanted.add_parser("rate", help="change the links").add_argument("rate")
    wanted.add_parser("list", help="name=address of each, joined by commas")
    wanted.add_parser("down", help="take them away")
    given = parser.parse_args()
    if (reason := missing()) is not None:
        raise SystemExit(reason)
    rate = getattr(given, "rate", None)
    if rate is not None and RATE.fullmatch(rate) is None:
        raise SystemExit(f"'{rate}' is no rate; give a number and a unit, such as 1gbit or 100mbit")
    if given.command == "up":
        if not 2 <= given.hosts <= 16:
            raise SystemExit(f"{given.hosts} hosts; give 2 to 16")
        up(given.hosts, rate)
    elif given.command == "rate":
        shape(rate)
    elif given.command == "down":
        down()
    print(",".join(f"{host}={where}" for host, where in addresses().items()) or "no hosts are up")


if __name__ == "__main__":
    main()
