"""What a network between workers adds to their step. No I/O.

    wire_s = (2 (k - 1)/k S - burst) / rate,   not below 0

k workers, S gradient bytes; 2 (k - 1)/k S is what each sends and receives in a ring all-reduce
(Patarasuk and Yuan 2009). rate: of one link, one direction, bytes/s. burst: what a link that is
limited by a token bucket, as clouds limit theirs, lets pass at once after the silence of a
step's computing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """A worker's link; factor: time really taken over the formula's, 1 until runs told."""

    bytes_s: float
    burst_bytes: float = 0.0
    factor: float = 1.0

    def wire_s(self, workers: int, message_bytes: float) -> float:
        """Seconds of one ring all-reduce on the wire."""
        sent = ring_bytes(workers, message_bytes)
        return self.factor * max(0.0, sent - self.burst_bytes) / self.bytes_s


def ring_bytes(workers: int, message_bytes: float) -> float:
    """What each worker sends in a ring all-reduce.

    >>> ring_bytes(4, 100.0)
    150.0
    """
    return 2 * (workers - 1) / workers * message_bytes
