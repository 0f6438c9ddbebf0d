"""Whether our step times are true: against plain loops that share none of our code.

    python benchmarks/measuring.py [--rounds 5] [-o measuring.json]

For each setting three fresh processes alternate in changing order, round after round: isocost's probe,
a plain ``model.fit``, and a plain ``tf.function`` loop. Printed is the median over rounds of the ratio of our
step time to theirs in the same round, with the quartiles, and the median over settings.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from isocost.profiles.bench import Bench
from isocost.profiles.gang import cores
from isocost.profiles.records import Knobs, Setting
from isocost.profiles.steady import steady
from isocost.profiles.workload import read_workload

SECONDS = 3.0
WORKLOAD = read_workload(Path(__file__).parent.parent / "examples" / "cifar10.yaml")

INDEPENDENT = """
import json, sys, time
import keras, numpy as np, tensorflow as tf
from sklearn.datasets import load_digits

how, batch, policy, xla, cores, seconds = json.loads(sys.argv[1])
tf.config.threading.set_intra_op_parallelism_threads(cores)
tf.config.threading.set_inter_op_parallelism_threads(cores)
keras.mixed_precision.set_global_policy(policy)
digits = load_digits()
x = np.repeat(np.repeat(digits.images, 4, 1), 4, 2)[..., None].repeat(3, 3) * (255 / 16)
x = x.astype("uint8")
L = keras.layers
model = keras.Sequential([
    keras.Input((32, 32, 3)),
    L.Conv2D(32, 3, activation="relu"), L.MaxPooling2D(),
    L.Conv2D(64, 3, activation="relu"), L.MaxPooling2D(),
    L.Conv2D(64, 3, activation="relu"), L.Flatten(),
    L.Dense(64, activation="relu"), L.Dense(10, dtype="float32"),
])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, jit_compile=xla)
data = tf.data.Dataset.from_tensor_slices((x, digits.target)).cache().shuffle(1500).repeat()
data = data.batch(batch, drop_remainder=True)
data = data.map(lambda a, b: (tf.cast(a, tf.float32) / 255.0, b)).prefetch(tf.data.AUTOTUNE)
ends = []
if how == "fit":
    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, number, logs=None):
            ends.append(time.perf_counter())
            if ends[-1] - ends[0] > seconds:
                self.model.stop_training = True
                raise StopIteration
    try:
        model.fit(data, steps_per_epoch=10**6, epochs=1, verbose=0, callbacks=[Clock()])
    except StopIteration:
        pass
else:
    @tf.function(jit_compile=xla)
    def gradients(a, b):
        with tf.GradientTape() as tape:
            value = loss(b, model(a, training=True))
        return value, tape.gradient(value, model.trainable_variables)

    @tf.function
    def step(a, b):
        value, found = gradients(a, b)
        model.optimizer.apply(found, model.trainable_variables)
        return value

    for a, b in data:
        float(step(a, b))
        ends.append(time.perf_counter())
        if ends[-1] - ends[0] > seconds:
            break
first = len(ends) // 5
print(json.dumps((ends[-1] - ends[first]) / (len(ends) - 1 - first)))
"""


def independent(how: str, setting: Setting) -> float:
    knobs = setting.knobs
    given = [how, setting.per_device_batch, knobs.precision, knobs.xla, cores(), SECONDS]
    done = subprocess.run(
        [sys.executable, "-c", INDEPENDENT, json.dumps(given)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.strip().splitlines()[-1])


def ours(setting: Setting) -> float:
    """As the profiler measures it."""
    with Bench(WORKLOAD, None, step_seconds=SECONDS) as bench:
        spec = bench.spec(setting, parts=False)
        probed = bench.probe(spec)
        return steady(probed.step_seconds, probed.settled_after).step_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    knobs = [
        Knobs(strategy="multi_worker_mirrored"),
        Knobs(strategy="multi_worker_mirrored", precision="mixed_bfloat16"),
        Knobs(strategy="multi_worker_mirrored", xla=True),
    ]
    settings = [
        Setting(accelerator="CPU", per_device_batch=batch, knobs=one)
        for one in knobs
        for batch in (32, 64, 128)
    ]
    rows: dict[Setting, list[dict[str, float]]] = {setting: [] for setting in settings}
    for turn in range(given.rounds):
        for setting in settings:
            ways = ["ours", "loop", "fit"]
            random.Random(turn).shuffle(ways)
            found = {
                how: ours(setting) if how == "ours" else independent(how, setting) for how in ways
            }
            rows[setting].append(found)
            print(f"round {turn + 1}: {setting.describe()}: {found}", file=sys.stderr)
    table = []
    print(f"{'setting':<34} {'ours':>9} {'to loop':>8} {'to fit':>8}   quartiles of both")
    for setting, turns in rows.items():
        ratios = {how: [t["ours"] / t[how] for t in turns] for how in ("loop", "fit")}
        both = ratios["loop"] + ratios["fit"]
        low, _, high = statistics.quantiles(both, n=4)
        line: dict[str, Any] = {
            "setting": setting.describe(),
            "ours_s": statistics.median(t["ours"] for t in turns),
            "to_loop": statistics.median(ratios["loop"]),
            "to_fit": statistics.median(ratios["fit"]),
            "to_both": statistics.median(both),
        }
        table.append(line)
        print(
            f"{line['setting']:<34} {1e3 * line['ours_s']:>6.2f} ms {line['to_loop']:>8.3f} "
            f"{line['to_fit']:>8.3f}   {low:.3f} to {high:.3f}"
        )
    middle = statistics.median(line["to_both"] for line in table)
    print(f"median over {len(table)} settings: {middle:.3f}")
    if given.output is not None:
        result = {"settings": table, "median": middle, "rounds": given.rounds}
        given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
