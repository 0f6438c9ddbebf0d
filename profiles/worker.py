"""What every worker process does first: die with its parent, know its share, refuse in a sentence."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from ..catalog.files import InputError, write_whole

EXIT_REFUSED = 2


def die_with_parent() -> None:
    """End this process when its parent ends; the parent holds the other end of standard input."""

    def watch() -> None:
        # Not sys.stdin: its lock, held here for good, would abort the interpreter's own end.
        while os.read(0, 1024):
            pass
        os._exit(EXIT_REFUSED)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class StopWish:
    """True once somebody asked this process to end (SIGTERM or Ctrl-C)."""

    def __init__(self) -> None:
        self._asked = False
        self.listen()

    def listen(self) -> None:
        """Take the signals; again after a strategy is made, for TensorFlow's takes SIGTERM away."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True

    def __bool__(self) -> bool:
        return self._asked


def rank() -> int:
    """This worker's place among its peers, from TF_CONFIG."""
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    return int(config.get("task", {}).get("index", 0))


def guarded(work: Callable[[], None], result: Path) -> int:
    """Do the work; what the user gave wrong is written to result as one sentence. Exit code."""
    try:
        work()
    except InputError as error:
        if rank() == 0:
            write_whole(result, json.dumps({"refused": str(error)}))
        return EXIT_REFUSED
    return 0
