"""What every worker process does first: die with its parent, know its rank, fail in a sentence."""

import faulthandler
import inspect
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..catalog.files import InputError, write_whole

PACKAGE = Path(__file__).resolve().parent.parent
EXIT_REFUSED = 2
EXIT_OUT_OF_MEMORY = 5


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
    """This process's place among all of its run, from TF_CONFIG: type after type, in its order."""
    config = _tf_config()
    task = config.get("task", {})
    before = 0
    for kind, hosts in config.get("cluster", {}).items():
        if kind == task.get("type"):
            break
        before += len(hosts)
    return before + int(task.get("index", 0))


def peers() -> int:
    """How many workers train together, from TF_CONFIG."""
    return max(1, len(_tf_config().get("cluster", {}).get("worker", ())))


def task_type() -> str:
    """What this process is to its run: worker, chief (a coordinator) or ps (a parameter server)."""
    return str(_tf_config().get("task", {}).get("type", "worker"))


def _tf_config() -> dict[str, Any]:
    return dict(json.loads(os.environ.get("TF_CONFIG") or "{}"))


def end_if_stuck(seconds: float) -> None:
    """End this process, with every thread's place in its log, unless called again within seconds."""
    faulthandler.dump_traceback_later(seconds, exit=True)


def guarded(work: Callable[[], None], result: Path, folder: Path | None) -> int:
    """Do the work; what is the user's own fault is written to result as one sentence. Exit code.

    folder holds the user's own model, whose lines are named; None where the model is built in.
    """
    try:
        work()
    except InputError as error:
        return _refuse(result, str(error))
    except SyntaxError as error:
        # It names a line of a file that never ran, so no traceback does.
        if folder is None or error.filename is None or not is_own(error.filename, folder):
            raise
        return _refuse(result, f"{Path(error.filename).name} line {error.lineno}: {error.msg}")
    except MemoryError:
        return EXIT_OUT_OF_MEMORY
    except Exception as error:
        if type(error).__name__ == "ResourceExhaustedError":
            return EXIT_OUT_OF_MEMORY
        traceback.print_exc()
        where = own_line(error, folder)
        if where is None:
            raise
        words = " ".join(str(error).split())
        # TensorFlow wraps what the user's own code raised: the first words of it are the user's.
        shown = re.sub(r"^\{\{function_node.*?\}\} ", "", words)[:200]
        return _refuse(result, f"{where} raised {type(error).__name__}: {shown}")
    finally:
        faulthandler.cancel_dump_traceback_later()
    return 0


def _refuse(result: Path, words: str) -> int:
    # Any worker may be the one at fault; whoever writes first is believed.
    if not result.exists():
        write_whole(result, json.dumps({"refused": words}))
    return EXIT_REFUSED


def own_line(error: BaseException, folder: Path | None) -> str | None:
    """The last line of the user's own code in a traceback or in what TensorFlow quotes of one."""
    if folder is None:
        return None
    own = [
        (frame.filename, frame.lineno or 0, frame.name)
        for frame in traceback.extract_tb(error.__traceback__)
        if is_own(frame.filename, folder)
    ]
    if not own:
        quoted = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(error))
        own = [(file, int(line), name) for file, line, name in quoted if is_own(file, folder)]
    if not own:
        return None
    file, line, name = own[-1]
    return f"{Path(file).name} line {line} ({name})"


def is_own(file: str, folder: Path) -> bool:
    """Whether a source file is the user's: in their folder, and in no library below it."""
    path, folder = Path(file).resolve(), folder.resolve()
    ours = any(path.is_relative_to(PACKAGE / part) for part in ("catalog", "profiles", "execution"))
    return path.is_relative_to(folder) and "site-packages" not in path.parts and not ours


def factory_line(model: str) -> str:
    """Where the user's model is made, for faults that no line raises; the model's name if built in."""
    if ":" not in model:
        return model
    module, name = model.split(":")
    function = getattr(sys.modules.get(module), name, None)
    if function is None:
        return model
    try:
        file, line = inspect.getsourcefile(function) or module, inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return model
    return f"{Path(file).name} line {line} ({name})"
