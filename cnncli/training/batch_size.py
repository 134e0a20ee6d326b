"""`training.batch_size: auto`: the largest batch whose step fits into memory, found out in a process of its own.

A step that takes more than there is may end the process that tries it, and with it nothing else. The process is told
the config on stdin and says on stdout what it tries, and what fits:

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
from cnncli.engines.choice import choose_engine
from cnncli.errors import TrainingError
from cnncli.networks.backend import gpus
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.runtime.memory import bounded
from cnncli.terminal.console import Console
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TailTrainer, is_out_of_memory

SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""What is tried. More than 128 images a step make training on a few thousand worse, not faster."""
LEAST_STEPS = 16
"""Of an epoch: fewer steps than that learn little."""
SHARE = 0.8
"""Of the memory that is there: the rest is for the images, and for whoever else works on the machine."""
PATIENCE_S = 900.0


def sizes_for(images: int) -> list[int]:
    """Which sizes are tried for so many training images, the largest first.

    >>> sizes_for(2000), sizes_for(40), sizes_for(5)
    ([64, 32, 16, 8, 4, 2, 1], [2, 1], [1])
    """
    return [size for size in SIZES if size == 1 or images // size >= LEAST_STEPS]


def find_batch_size(config: Config, n_classes: int, images: int, console: Console) -> int:
    """The largest batch whose step fits into memory in every stage.

    Args:
        config: with `training.batch_size: auto`.
        n_classes: of the classifier.
        images: to train on.
        console: told what was found.

    Raises:
        TrainingError: not even one image fits.
    """
    sizes = sizes_for(images)
    named = ", ".join(map(str, sizes))
    console.phase("batch size", f"trying which of {named} fits into memory")
    while sizes:
        tried, found = _ask(config, n_classes, sizes)
        if found is not None:
            console.phase("batch size", f"{found}, the largest of {named} that fits")
            return found
        sizes = [size for size in sizes if size < tried]
    raise TrainingError(
        "training.batch_size: not even one image fits into memory; choose a smaller data.image_size or backbone."
    )


def _ask(config: Config, n_classes: int, sizes: Sequence[int]) -> tuple[int, int | None]:
    """The size that was tried last, and what fits: None where what it tried ended the process, or took too long."""
    question = {"config": config.model_dump(mode="json"), "n_classes": n_classes, "sizes": list(sizes)}
    command = [sys.executable, "-P", "-m", "cnncli.training.batch_size"]  # -P: the user's folder may hold a json.py
    try:
        done = subprocess.run(command, input=json.dumps(question).encode(), capture_output=True, timeout=PATIENCE_S)
        said, complaint = done.stdout, _last_line(done.stderr.decode(errors="replace"))
    except subprocess.TimeoutExpired as error:
        said, complaint = error.stdout or b"", f"no answer within {PATIENCE_S:g} s"
    answers = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
    if not answers:  # it never got as far as trying: that is no matter of memory
        raise TrainingError(f"training.batch_size: cannot be found out: {complaint}")
    return answers[-1]["size"], answers[-1]["size"] if answers[-1]["fits"] else None


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "the process said nothing")


def main() -> None:
    """Answer the question on stdin."""
    question = json.load(sys.stdin)
    config = Config.model_validate(question["config"])
    with nullcontext() if gpus() else bounded(SHARE, swap=False):  # on a GPU it is the GPU's memory that counts
        for size, fits in _tried(config, question["n_classes"], question["sizes"]):
            print(json.dumps({"size": size, "fits": fits}), flush=True)


def _tried(config: Config, n_classes: int, sizes: Sequence[int]) -> Iterable[tuple[int, bool]]:
    """Each size, first as one that may end the process, then with what came out; up to the first that fits."""
    backbone = config.backbone.model_copy(update={"weights": "none"})  # as large as any
    classifier = build_classifier(config.model_copy(update={"backbone": backbone}), n_classes)
    steps = [_Step(classifier, stage, config, n_classes) for stage in stages_of(config)]
    for size in sizes:
        yield size, False
        if all(step.fits(size) for step in steps):
            yield size, True
            return


class _Step:
    """The training step of a stage, on noise."""

    def __init__(self, classifier: Classifier, stage: Stage, config: Config, n_classes: int) -> None:
        cut = cut_classifier(classifier, stage.unfreeze, stage.batch_norm)
        precision = choose_engine(config.engine, config.precision).precision
        self._trainer = TailTrainer(
            cut.tail,
            build_optimizer(stage.optimizer),
            Objective(config.head.activation, n_classes),
            precision if is_convolutional(cut.tail) else "float32",
        )

    def fits(self, size: int) -> bool:
        """Whether one step on so many images gets the memory it asks for."""
        try:
            inputs = [np.zeros((size, *tensor.shape[1:]), np.float32) for tensor in self._trainer.tail.inputs]
            self._trainer.train_epoch([(inputs, np.zeros(size, np.int64))], iter([1.0]), "trying")
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True


if __name__ == "__main__":
    main()
