"""`training.batch_size: auto`: the largest batch whose step fits into memory, tried in a process of its own.

A step that takes more memory than there is can end the process that tries it, and only that one. The process reads the
config on stdin, and prints on stdout what it tries and what fits:

    python -m cnncli.training.batch_size < config.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

import numpy as np

from cnncli.config.modes import Stage, stages_of
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.engines.build import choose_engine
from cnncli.errors import Message, TrainingError
from cnncli.networks.backend import gpus
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.runtime.memory import bounded
from cnncli.terminal.console import Console
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep, is_out_of_memory

SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Sizes to try. More than 128 images in a step make training on a few thousand images worse, not faster."""
MIN_STEPS = 16
"""Minimum number of steps in an epoch: with fewer, little is learned."""
MEMORY_FRACTION = 0.8
"""Fraction of the available memory that a step may take. The rest is for the images and for other processes."""
TIMEOUT_S = 900.0


def sizes_for(images: int) -> list[int]:
    """Return the sizes to try for a number of training images, largest first.

    >>> sizes_for(2000), sizes_for(40), sizes_for(5)
    ([64, 32, 16, 8, 4, 2, 1], [2, 1], [1])
    """
    return [size for size in SIZES if size == 1 or images // size >= MIN_STEPS]


def resolve_batch_size(config: Config, manifest: Manifest, console: Console) -> Config:
    """Return the config with a number as `training.batch_size`."""
    if config.training.batch_size != "auto":
        return config
    size = find_batch_size(config, len(manifest.classes), len(manifest.split("train")), console)
    return config.model_copy(update={"training": config.training.model_copy(update={"batch_size": size})})


def find_batch_size(config: Config, n_classes: int, images: int, console: Console) -> int:
    """Return the largest batch size whose step fits into memory in every stage.

    Args:
        config: Config with `training.batch_size: auto`.
        n_classes: Number of classes.
        images: Number of training images.
        console: Shows the result.

    Raises:
        TrainingError: Not even one image fits.
    """
    sizes = sizes_for(images)
    names = ", ".join(map(str, sizes))
    console.phase("batch size", f"trying which of {names} fits into memory")
    while sizes:
        tried, found = _try_sizes(config, n_classes, sizes)
        if found is not None:
            console.phase("batch size", f"{found}, the largest of {names} that fits")
            return found
        sizes = [size for size in sizes if size < tried]
    raise TrainingError(
        Message(
            "training-out-of-memory",
            "training.batch_size: not even one image fits into memory. Choose a smaller data.image_size or backbone.",
            key="training.batch_size",
        )
    )


def _try_sizes(config: Config, n_classes: int, sizes: Sequence[int]) -> tuple[int, int | None]:
    """Return the size that was tried last, and the one that fits; None if the trial ended the process or timed out."""
    question = {"config": config.model_dump(mode="json"), "n_classes": n_classes, "sizes": list(sizes)}
    command = [sys.executable, "-P", "-m", "cnncli.training.batch_size"]  # -P: the user's folder may hold a json.py
    try:
        done = subprocess.run(command, input=json.dumps(question).encode(), capture_output=True, timeout=TIMEOUT_S)
        output, reason = done.stdout, _last_line(done.stderr.decode(errors="replace"))
    except subprocess.TimeoutExpired as error:
        output, reason = error.stdout or b"", f"no answer within {TIMEOUT_S:g} s"
    answers = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
    if not answers:  # it did not get as far as trying, so memory is not the problem
        text = f"training.batch_size: auto failed: {reason}. Give a number instead."
        raise TrainingError(Message("training-batch-size-unknown", text, key="training.batch_size", reason=reason))
    return answers[-1]["size"], answers[-1]["size"] if answers[-1]["fits"] else None


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "the process printed nothing")


def main() -> None:
    """Read the config on stdin, and print what fits."""
    question = json.load(sys.stdin)
    config = Config.model_validate(question["config"])
    with nullcontext() if gpus() else bounded(MEMORY_FRACTION, swap=False):  # on a GPU, its own memory counts
        for size, fits in _trials(config, question["n_classes"], question["sizes"]):
            print(json.dumps({"size": size, "fits": fits}), flush=True)


def _trials(config: Config, n_classes: int, sizes: Sequence[int]) -> Iterable[tuple[int, bool]]:
    """Yield each size, first as one that may end the process, then with the result, up to the first that fits."""
    backbone = config.backbone.model_copy(update={"weights": "none"})  # as large as any
    classifier = build_classifier(config.model_copy(update={"backbone": backbone}), n_classes)
    steps = [_Step(classifier, stage, config, n_classes) for stage in stages_of(config)]
    for size in sizes:
        yield size, False
        if all(step.fits(size) for step in steps):
            yield size, True
            return


class _Step:
    """The training step of a stage."""

    def __init__(self, classifier: Classifier, stage: Stage, config: Config, n_classes: int) -> None:
        cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
        precision = choose_engine(config.engine, config.precision).precision
        self._step = TrainStep(
            cut.tail,
            build_optimizer(stage.optimizer),
            Objective(config.head.activation, n_classes),
            precision if is_convolutional(cut.tail) else "float32",
        )

    def fits(self, size: int) -> bool:
        """Return whether one step with this batch size gets the memory it needs."""
        try:
            inputs = [np.zeros((size, *tensor.shape[1:]), np.float32) for tensor in self._step.tail.inputs]
            self._step.train_epoch([(inputs, np.zeros(size, np.int64))], iter([1.0]), "trying")
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True


if __name__ == "__main__":
    main()
