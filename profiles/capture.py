"""A Keras script run up to its ``model.fit``: which model it would train, on which data, and how.

Nothing in the script is changed or guessed from its text: it runs as it would from the command line, and
``fit`` hands over instead of training. ``python -m isocost.profiles.capture SPEC RESULT`` does so
in a process of its own and tries one step of isocost's own training loop on what it caught.
"""

import ast
import contextlib
import functools
import inspect
import io
import os
import re
import runpy
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..catalog.files import Document, InputError
from .records import Knobs, Precision
from .worker import die_with_parent, end_if_stuck, guarded
from .workload import ModelFacts

COUNT_S = 20.0  # spent on counting the samples of a dataset that does not say how many it has
SOON_S = 5.0  # on counting those of one that says how many batches it has
KERAS_BATCH = 32  # what fit takes without batch_size
STRATEGIES = (
    "MirroredStrategy",
    "MultiWorkerMirroredStrategy",
    "OneDeviceStrategy",
    "ParameterServerStrategy",
    "TPUStrategy",
)


class CaptureSpec(Document):
    """Which script to run with which arguments, and which of its fits is meant, from 1."""

    schema_id: Literal["isocost/capture/v1"] = Field(alias="schema", default="isocost/capture/v1")
    script: str
    arguments: tuple[str, ...] = ()
    fit: int = Field(default=1, ge=1)
    try_step: bool = True
    stuck_s: float = 300.0


class Captured(Document):
    """What a script would train.

    samples: an epoch; sure: whether that many were counted or stated. sample_bytes: as the model
    sees one. data: where x came from, in words. notes: what the workload file leaves out.
    """

    schema_id: Literal["isocost/captured/v1"] = Field(alias="schema", default="isocost/captured/v1")
    model: str
    kind: Literal["functional", "sequential", "subclassed"]
    optimizer: str
    loss: str
    precision: Precision
    batch: int
    epochs: int
    samples: int
    sure: bool
    sample_bytes: float
    data: str
    shapes: str
    notes: tuple[str, ...]
    facts: ModelFacts | None


@dataclass(frozen=True)
class Fit:
    """One call of fit: the model and the arguments it was given, by their names."""

    model: Any
    given: dict[str, Any]

    @property
    def batch_size(self) -> int | None:
        return self.given.get("batch_size")


class _Reached(BaseException):
    """The fit that was meant; no ``except Exception`` of the script stops it."""

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self.fit = fit


def captured(script: Path, arguments: Sequence[str] = (), *, fit: int = 1) -> tuple[Any, ...]:
    """(compiled model, train dataset) of a script, and the validation dataset where it gives one.

    The dataset holds pairs (x, y) in batches. Raises InputError where the script does not come to
    its fit, or trains in a way that isocost's own loop cannot.
    """
    found = run_to_fit(script, arguments, fit)
    check_model(found, script)
    train = dataset_of(found, script)
    test = validation_of(found, script)
    return (found.model, train) if test is None else (found.model, train, test)


# -------------------------------------------------------------------------------- running it


def run_to_fit(script: Path, arguments: Sequence[str] = (), number: int = 1) -> Fit:
    """Run the script, in its own folder, until it calls fit for the number-th time."""
    text = source(script)
    try:
        with _as_program(script, arguments), _intercepted(number) as reached:
            _run(script, text)
    except _Reached as end:
        return end.fit
    except SystemExit as end:
        if end.code not in (None, 0):
            code = end.code if isinstance(end.code, int) else str(end.code)[:200]
            raise InputError(
                f"{script.name} ended by itself ({code}) before it called fit; give its own arguments "
                "after --, as in: isocost init train.py -- --epochs 3"
            ) from None
    except ModuleNotFoundError as error:
        raise InputError(
            f"{script.name} needs {error.name}, which is not installed here"
        ) from error
    except EOFError:
        raise InputError(
            f"{script.name} waits for input before it calls fit; give it arguments instead, after --"
        ) from None
    except Exception as error:
        words = _download_words(error)
        if words is None:
            raise
        raise InputError(f"{script.name}: {words}") from None
    raise InputError(_never(script, text, number, reached))


def source(script: Path) -> str:
    """The script's text; raises InputError for what is no Python program."""
    if script.suffix == ".ipynb":
        raise InputError(
            f"{script.name} is a notebook; make a script of it: jupyter nbconvert --to script {script.name}"
        )
    try:
        text = script.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{script} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{script} cannot be read as a Python script: {error}") from None
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        place = f" at line {line}" if line else ""
        raise InputError(f"{script.name} is no Python program{place}: {error}") from None
    return text


def fits_in(text: str) -> int:
    """How many calls of a method named fit the text of a script has."""
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "fit"
        and not (isinstance(node.func.value, ast.Call) and _is_super(node.func.value))
        for node in ast.walk(ast.parse(text))
    )


def _is_super(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "super"


def _never(script: Path, text: str, number: int, reached: list[int]) -> str:
    if reached:
        return (
            f"{script.name} called fit {len(reached)} time(s), not {number}; give --fit from 1 to "
            f"{len(reached)}"
        )
    own_loop = "GradientTape" in text or "train_on_batch" in text
    if own_loop and not fits_in(text):
        return (
            f"{script.name} trains in a loop of its own and never calls fit; write a function that "
            "returns (compiled model, dataset) and name it as module:function (docs/workloads.md)"
        )
    return (
        f"{script.name} ended without calling fit of a Keras model; give the arguments that make it "
        "train after --, or the script that does"
    )


def _run(script: Path, text: str) -> None:
    """As ``python script`` would; as ``python -m`` where it imports relatively."""
    relative = any(
        isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(text))
    )
    if not relative:
        runpy.run_path(str(script), run_name="__main__")
        return
    package = script.parent
    names = [script.stem, package.name]
    while (package / "__init__.py").exists() and (package.parent / "__init__.py").exists():
        package = package.parent
        names.append(package.name)
    sys.path.insert(0, str(package.parent))
    runpy.run_module(".".join(reversed(names)), run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def _as_program(script: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Arguments, folder and search path as the script's own; the folder stays, for data read later."""
    os.chdir(script.parent)
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures that it would show wait for nobody
    kept, sys.argv = sys.argv, [str(script), *arguments]
    stdin, sys.stdin = sys.stdin, io.StringIO()  # nobody is there to answer
    if str(script.parent) not in sys.path:
        sys.path.insert(0, str(script.parent))
    try:
        yield
    finally:
        sys.argv, sys.stdin = kept, stdin


@contextlib.contextmanager
def _intercepted(number: int) -> Iterator[list[int]]:
    """Meanwhile fit hands over, and a strategy that the script makes is the one that is there.

    Gives the list of fits that were passed over.
    """
    import keras
    import tensorflow as tf

    own = inspect.signature(keras.Model.fit)
    passed: list[int] = []

    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = own.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = {key: value for key, value in bound.arguments.items() if key != "self"}
        passed.append(len(passed) + 1)
        if len(passed) >= number:
            raise _Reached(Fit(self, given))
        return _unfitted(self, given)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced(keras.Model, "fit", fit))
        for name in STRATEGIES:
            stack.enter_context(_replaced(tf.distribute, name, _Here))
        yield passed


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


class _Here:
    """Stands for any strategy of the script's own: isocost chooses the strategy."""

    def __init__(self, *_: Any, **__: Any) -> None:
        import tensorflow as tf

        self._strategy = tf.distribute.get_strategy()

    def scope(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)


def _unfitted(model: Any, given: dict[str, Any]) -> Any:
    """What a fit that is passed over returns: a history with a figure for whatever is looked up."""
    import keras

    class Figures(dict[str, list[float]]):
        def __missing__(self, key: str) -> list[float]:
            return [0.0] * max(1, int(given.get("epochs") or 1))

    history = keras.callbacks.History()
    history.set_model(model)
    history.history, history.epoch = Figures(), []
    return history


def _download_words(error: BaseException) -> str | None:
    """A sentence for data that could not be fetched, None for any other error."""
    seen: BaseException | None = error
    while seen is not None:
        words = " ".join(str(seen).split())
        kind = type(seen).__name__
        if "URL fetch failure" in words or kind in (
            "URLError",
            "HTTPError",
            "ConnectionError",
            "MaxRetryError",
            "gaierror",
        ):
            return (
                f"its data cannot be downloaded here ({words[:160]}); put them where the script looks "
                "for them (Keras: ~/.keras/datasets), or let it read local data"
            )
        seen = seen.__cause__ or seen.__context__
    return None


# ----------------------------------------------------------------------------- what it trains


def check_model(fit: Fit, script: Path) -> None:
    """InputError for a model whose own way of training isocost's loop would not follow."""
    import keras

    model = fit.model
    if getattr(model, "optimizer", None) is None:
        raise InputError(f"{script.name} calls fit on a model that was not compiled")
    if type(model).train_step is not keras.Model.train_step:
        raise InputError(
            f"{script.name}: {type(model).__name__} has a train_step of its own, which isocost's "
            "training loop does not call; put the loss into compile() or compute_loss()"
        )


def kind_of(model: Any) -> Literal["functional", "sequential", "subclassed"]:
    import keras

    if isinstance(model, keras.Sequential):
        return "sequential"
    return "functional" if type(model).__name__ == "Functional" else "subclassed"


def dataset_of(fit: Fit, script: Path) -> Any:
    """The training data as tf.data.Dataset of batched pairs (x, y)."""
    given = fit.given
    batch = fit.batch_size or KERAS_BATCH
    made = _dataset(given["x"], given["y"], batch, script)
    split = float(given.get("validation_split") or 0.0)
    if split and _are_arrays(given["x"]):
        count = _rows(given["x"])
        made = _dataset(
            _first(given["x"], count - int(count * split)),
            _first(given["y"], count - int(count * split)),
            batch,
            script,
        )
    return made


def validation_of(fit: Fit, script: Path) -> Any:
    """The validation data likewise, None where there are none or no end to them."""
    import tensorflow as tf

    given = fit.given.get("validation_data")
    if given is None or hasattr(given, "__next__") or fit.given.get("validation_steps"):
        return None
    x, y = given[:2] if isinstance(given, (tuple, list)) and len(given) > 1 else (given, None)
    made = _dataset(x, y, fit.batch_size or KERAS_BATCH, script)
    return None if made.cardinality() == tf.data.INFINITE_CARDINALITY else made


def _dataset(x: Any, y: Any, batch: int, script: Path) -> Any:
    import keras
    import tensorflow as tf

    if isinstance(x, tf.data.Dataset):
        return _pairs(x, script)
    if isinstance(x, keras.utils.PyDataset):
        return _pairs(_from_batches(lambda: (x[k] for k in range(len(x))), x[0], script), script)
    if hasattr(x, "__next__"):
        first = next(x)
        return _pairs(_from_batches(_resumed(first, x), first, script), script)
    if not _are_arrays(x) and hasattr(x, "__iter__") and hasattr(x, "dataset"):
        first = next(iter(x))  # PyTorch's DataLoader
        return _pairs(_from_batches(lambda: iter(x), first, script), script)
    if y is None:
        raise InputError(
            f"{script.name} calls fit without y on data that are no pairs; isocost trains on pairs (x, y)"
        )
    return tf.data.Dataset.from_tensor_slices((_arrays(x), _arrays(y))).batch(batch)


def _pairs(dataset: Any, script: Path) -> Any:
    """Pairs of a dataset of pairs, or of triples whose third part is the samples' weight."""
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) == 3:
        return dataset.map(lambda x, y, _: (x, y))
    if not (isinstance(spec, tuple) and len(spec) == 2):
        raise InputError(
            f"{script.name}'s dataset holds no pairs (x, y), on which isocost's training loop works: {spec}"
        )
    return dataset


def _resumed(first: Any, rest: Iterator[Any]) -> Callable[[], Iterator[Any]]:
    """A generator's elements, the one that was looked at among them; it cannot begin anew."""
    ahead = [first]

    def elements() -> Iterator[Any]:
        while ahead:
            yield ahead.pop()
        # Not "yield from", which would close the generator together with its first reader.
        for batch in rest:  # noqa: UP028
            yield batch

    return elements


def _from_batches(batches: Callable[[], Iterator[Any]], first: Any, script: Path) -> Any:
    """A dataset of what Python gives batch by batch."""
    import numpy as np
    import tensorflow as tf

    def plain(batch: Any) -> Any:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise InputError(
                f"{script.name}'s data give a {type(batch).__name__} a batch; expected (x, y)"
            )
        return tuple(_arrays(part) for part in batch[:2])

    def spec(part: Any) -> Any:
        array = np.asarray(part)
        return tf.TensorSpec((None, *array.shape[1:]), tf.as_dtype(array.dtype))

    signature = tf.nest.map_structure(spec, plain(first))
    return tf.data.Dataset.from_generator(
        lambda: (plain(batch) for batch in batches()), output_signature=signature
    )


def _are_arrays(x: Any) -> bool:
    """Whether x is an array, or a structure of them."""
    if isinstance(x, dict):
        return all(_are_arrays(part) for part in x.values())
    if isinstance(x, (list, tuple)):
        return True
    return hasattr(x, "shape") or hasattr(x, "iloc")


def _arrays(x: Any) -> Any:
    """Arrays as tf.data takes them, in 32 bits where Keras would make them so."""
    import numpy as np

    if isinstance(x, dict):
        return {key: _arrays(part) for key, part in x.items()}
    if isinstance(x, (list, tuple)) and x and hasattr(x[0], "shape") and len(np.shape(x[0])):
        return tuple(_arrays(part) for part in x)
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    array = np.asarray(x)
    if array.dtype == object:
        array = array.astype(str)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _first(x: Any, count: int) -> Any:
    import tensorflow as tf

    return tf.nest.map_structure(lambda part: part[:count], _arrays(x))


def _rows(x: Any) -> int:
    import tensorflow as tf

    return int(tf.nest.flatten(_arrays(x))[0].shape[0])


# ------------------------------------------------------------------------------- how much of it


def samples_of(fit: Fit, dataset: Any) -> tuple[int, int, bool]:
    """(batch, samples an epoch, whether that is certain) of the training data."""
    import tensorflow as tf

    given = fit.given
    batch = fit.batch_size
    if batch is None:
        batch = tf.nest.flatten(dataset.element_spec)[0].shape[0]
    if batch is None:
        x, _ = next(iter(dataset))
        batch = int(tf.nest.flatten(x)[0].shape[0])
    batch = int(batch)
    if given.get("steps_per_epoch"):
        return batch, int(given["steps_per_epoch"]) * batch, True
    if _are_arrays(given["x"]):
        count = _rows(given["x"])
        return batch, count - int(count * float(given.get("validation_split") or 0.0)), True
    if hasattr(given["x"], "__len__") and not isinstance(given["x"], tf.data.Dataset):
        return batch, len(given["x"]) * batch, True
    # The last batch may be smaller: what can be counted soon is counted.
    batches = int(dataset.cardinality())
    end, count = time.monotonic() + (SOON_S if batches > 0 else COUNT_S), 0
    for x, _ in dataset:
        count += int(tf.nest.flatten(x)[0].shape[0])
        if time.monotonic() > end:
            return (batch, batches * batch, True) if batches > 0 else (batch, count, False)
    return batch, count, True


def _describe(fit: Fit, spec: CaptureSpec, text: str) -> Captured:
    import keras
    import tensorflow as tf

    script = Path(spec.script)
    check_model(fit, script)
    dataset = dataset_of(fit, script)
    batch, samples, sure = samples_of(fit, dataset)
    if samples < 1:
        raise InputError(f"{script.name} calls fit on no data at all")
    model, given = fit.model, fit.given
    parts = tf.nest.flatten(dataset.element_spec)
    sizes = [
        (part.shape[1:].num_elements() or 0) * part.dtype.size
        if part.shape.rank and part.dtype != tf.string
        else 0
        for part in parts
    ]
    facts = _tried(fit, dataset, min(batch, samples), script) if spec.try_step else None
    policy = keras.mixed_precision.dtype_policy().name
    x = given["x"]
    return Captured(
        model=model.name,
        kind=kind_of(model),
        optimizer=type(model.optimizer).__name__,
        loss=_loss_name(getattr(model, "loss", None))[:80],
        precision=policy if policy in ("mixed_bfloat16", "mixed_float16") else "float32",
        batch=batch,
        epochs=max(1, int(given.get("epochs") or 1) - int(given.get("initial_epoch") or 0)),
        samples=samples,
        sure=sure,
        sample_bytes=float(sum(sizes)),
        data="arrays" if _are_arrays(x) else type(x).__name__.lstrip("_"),
        shapes=", ".join(f"{part.dtype.name}{list(part.shape[1:])}" for part in parts)[:200],
        notes=tuple(_notes(fit, dataset, text, spec.fit)),
        facts=facts,
    )


def _loss_name(loss: Any) -> str:
    if isinstance(loss, dict):
        return ", ".join(f"{key}: {_loss_name(part)}" for key, part in loss.items())
    if isinstance(loss, (list, tuple)):
        return ", ".join(map(_loss_name, loss))
    if loss is None or isinstance(loss, str):
        return loss or "its own loss"
    name = str(getattr(loss, "name", None) or getattr(loss, "__name__", ""))
    return name if name.isidentifier() else "a loss of its own"


def _notes(fit: Fit, dataset: Any, text: str, number: int) -> Iterator[str]:
    given, count = fit.given, fits_in(text)
    if count > 1:
        yield f"the script calls fit in {count} places; this is call {number} (--fit takes another)"
    if given.get("class_weight") is not None or given.get("sample_weight") is not None:
        yield "weights of classes and samples change the loss, not the speed: they are left out"
    stops = [type(one).__name__ for one in given.get("callbacks") or ()]
    if "EarlyStopping" in stops:
        yield "EarlyStopping may end the training before the last epoch: epochs is the most it takes"


def _tried(fit: Fit, dataset: Any, batch: int, script: Path) -> ModelFacts:
    """Take one step of isocost's own loop, as a profile will; what a step of the model needs."""
    from .training import Trainer, check_batches

    # A partial has no line of its own: errors name the script's fit.
    module = types.ModuleType(re.sub(r"\W", "_", script.stem))
    module.fit = functools.partial(lambda: (fit.model, dataset))  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    import keras

    knobs = Knobs(precision=keras.mixed_precision.dtype_policy().name.replace("float64", "float32"))
    trainer = Trainer(f"{module.__name__}:fit", knobs, batch, shuffle_buffer=2 * batch)
    check_batches(trainer)
    trainer.steps().take()
    return trainer.facts()


def main() -> int:
    spec_path, result_path = Path(sys.argv[1]), Path(sys.argv[2])
    die_with_parent()
    spec = CaptureSpec.read(spec_path)

    def work() -> None:
        end_if_stuck(spec.stuck_s)
        script = Path(spec.script)
        text = source(script)
        found = run_to_fit(script, spec.arguments, spec.fit)
        _describe(found, spec, text).write(result_path)

    return guarded(work, result_path, Path(spec.script).parent)


if __name__ == "__main__":
    sys.exit(main())
