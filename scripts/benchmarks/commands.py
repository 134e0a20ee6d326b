"""Whole commands, from the start of a process to its last line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from scripts.benchmarks.rows import OURS, Row, in_turns
from scripts.benchmarks.setting import Finished, Setting

SIDE_PX = 160
DEFAULT, DEFAULT_PX = "EfficientNetLite0", 224
"""The default network of cnncli, which Keras does not have, and its image size."""
PLAIN = {
    "plain Keras, `fit` with the frozen network, 10 epochs": "fit",
    "plain Keras, features computed once, then `fit`": "features",
    "plain Keras for features, scikit-learn's LogisticRegressionCV": "sklearn",
}


def measure_cold(setting: Setting, name: str) -> Iterator[Row]:
    """Yield the seconds of a training with an empty cache, and the test accuracies."""
    data, caches = setting.splits(), (f"cold-{number}" for number in itertools.count())
    side_px = DEFAULT_PX if name == DEFAULT else SIDE_PX
    scores: dict[str, float] = {}

    def ours() -> float:
        done = setting.train(data, *setting.backbone(name), f"data.image_size={side_px}", cache=next(caches))
        scores[OURS] = done.accuracy
        return done.seconds_to_output

    def theirs(side: str) -> float:
        words = ["--network", name, "--size", str(SIDE_PX), "--weights", setting.weights_of(name)]
        done = setting.plain("train", PLAIN[side], data, *words)
        scores[side] = 100 * float(done.document["test_accuracy"])
        return done.seconds

    sides: dict[str, Callable[[], float]] = {OURS: ours}
    if name != DEFAULT:
        sides |= {side: partial(theirs, side) for side in PLAIN}
    title = "Empty cache, dogs-vs-cats, command to test metrics"
    yield Row(title, "s", in_turns(sides, setting.rounds), f"{name}, {side_px} px")
    accuracies = {side: (value,) for side, value in scores.items()}
    yield Row(f"{title}: test accuracy", "%", accuracies, f"{name}, {side_px} px")


def measure_warm(setting: Setting, name: str) -> Iterator[Row]:
    """Yield the seconds to the results of commands whose features are cached."""
    data, network = setting.splits(), setting.backbone(name)
    path = setting.train(data, *network).document["run"]
    strengths = (f"head.l2={10.0**-exponent:g}" for exponent in itertools.cycle(range(1, 5)))
    sides = {
        "another L2 strength": lambda: setting.train(data, *network, next(strengths)).seconds_to_output,
        "L2 strength by cross-validation": lambda: setting.train(data, *network).seconds_to_output,
        "`evaluate`": lambda: setting.cnncli("evaluate", path, "--json").seconds,
    }
    for subject, values in in_turns(sides, setting.rounds).items():
        yield Row(f"{name}, features cached, command to results", "s", {OURS: values}, subject)


def measure_predict(setting: Setting, name: str) -> Iterator[Row]:
    """Yield the seconds of predictions in a new process: one image, and all images."""
    data = setting.splits()
    run = Path(setting.train(data, *setting.backbone(name)).document["run"])
    images = sorted(path for path in data.rglob("*") if path.is_file())
    for subject, source in ((f"{len(images):,} images", data), ("one image", images[0])):
        sides = {
            OURS: partial(_seconds, setting.cnncli, "predict", source, "--run", run, "--csv"),
            "script with Keras, in batches": partial(_seconds, setting.plain, "predict", run / "model.keras", source),
        }
        yield Row(f"Predicting with {name}, new process", "s", in_turns(sides, setting.rounds), subject)


def measure_start(setting: Setting, name: str) -> Iterator[Row]:
    """Yield the seconds of a command that computes nothing."""
    seconds = in_turns({OURS: partial(_seconds, setting.cnncli, *name.split())}, setting.rounds)
    yield Row("Commands that compute nothing, new process", "s", seconds, f"`cnncli {name}`")


def _seconds(call: Callable[..., Finished], *words: str | Path) -> float:
    return call(*words).seconds
