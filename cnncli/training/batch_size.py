"""Batches that fit into memory: find the largest one for `training.batch_size: auto`, and refuse one that is too large.

A step that uses too much memory can end its process, so sizes are tried in a separate one, `python -m
cnncli.training.batch_size`, which reads the config on stdin and prints each size and whether it fits.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.config.modes import stages_of
from cnncli.config.schema import Config
from cnncli.engines.build import choose_engine
from cnncli.errors import CnncliError, Message, TrainingError
from cnncli.networks.backend import gpus
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.graph import nodes_in_order
from cnncli.networks.mixed_precision import is_convolutional
from cnncli.runtime.machine import is_out_of_memory
from cnncli.runtime.memory import available_bytes, bounded
from cnncli.runtime.new_process import start_python
from cnncli.terminal.console import Console
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep
from cnncli.training.update import UpdateSettings

if TYPE_CHECKING:
    import keras

SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Sizes to try. More than 128 images in a step make training on a few thousand images worse, not faster."""
MIN_STEPS = 16
"""Minimum number of steps per epoch, since too few steps learn little."""
MEMORY_FRACTION = 0.8
"""Fraction of the available memory that a step may take. The rest is for the images and for other processes."""
TIMEOUT_S = 900.0


def sizes_for(images: int) -> list[int]:
    """Return the sizes to try for a number of training images, largest first.

    >>> sizes_for(2000), sizes_for(40), sizes_for(5)
    ([64, 32, 16, 8, 4, 2, 1], [2, 1], [1])
    """
    return [size for size in SIZES if size == 1 or images // size >= MIN_STEPS]


def resolve_batch_size(config: Config, n_classes: int, images: int, console: Console) -> Config:
    """Return the config with a number as `training.batch_size`, for `auto` the largest that fits in every stage."""
    if config.training.batch_size != "auto":
        return config
    sizes = sizes_for(images)
    names = ", ".join(map(str, sizes))
    console.phase("batch size", f"trying which of {names} fits into memory")
    while sizes:
        size, fits = _try_sizes(config, n_classes, sizes)
        if fits:
            console.phase("batch size", f"{size}, the largest of {names} that fits")
            return config.model_copy(update={"training": config.training.model_copy(update={"batch_size": size})})
        sizes = [smaller for smaller in sizes if smaller < size]
    text = "training.batch_size: not even one image fits into memory. Choose a smaller data.image_size or backbone."
    raise TrainingError(Message("training-out-of-memory", text, key="training.batch_size"))


@contextmanager
def require_memory(step: TrainStep, batch_size: int, stage: str) -> Iterator[None]:
    """Raise TrainingError if the steps of a stage within do not fit into memory.

    TensorFlow's oneDNN convolutions do not check whether their output could be allocated, and crash. So a batch is
    refused before its first step if these outputs alone do not fit. A step needs more, so that a batch that is only a
    little too large is still found by TensorFlow.
    """
    try:
        available = None if gpus() else available_bytes()  # a GPU has memory of its own
        if available is not None and batch_size * _convolved_bytes(step.tail) > available:
            raise MemoryError
        yield
    except Exception as error:
        if isinstance(error, CnncliError) or not is_out_of_memory(error):
            raise
        key = "training.batch_size"
        text = f"stage {stage}: a batch of {batch_size:,} images does not fit into memory. Lower {key}."
        raise TrainingError(Message("training-out-of-memory", text, key=key, received=batch_size)) from error


def _convolved_bytes(tail: keras.Model) -> int:
    """Return the size in bytes of the outputs of all convolutions for one image."""
    nodes = [node for node in nodes_in_order(tail) if "Conv" in type(node.operation).__name__]
    tensors = [tensor for node in nodes for tensor in node.outputs]
    return sum(math.prod(map(int, one.shape[1:])) * (2 if one.dtype == "bfloat16" else 4) for one in tensors)


def _try_sizes(config: Config, n_classes: int, sizes: Sequence[int]) -> tuple[int, bool]:
    """Return the last size that was tried, and whether it fits; it does not if the process was killed or timed out."""
    question = {"config": config.model_dump(mode="json"), "n_classes": n_classes, "sizes": list(sizes)}
    words = ["-m", "cnncli.training.batch_size"]
    with start_python(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            output, errors = process.communicate(json.dumps(question), timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()[0], f"no answer within {TIMEOUT_S:g} s"
        finally:
            process.kill()
    answers = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if not answers:  # it did not start trying, so memory is not the problem
        reason = (errors.strip() or "the process printed nothing").splitlines()[-1]
        text = f"training.batch_size: auto failed: {reason}. Give a number instead."
        raise TrainingError(Message("training-batch-size-unknown", text, key="training.batch_size", reason=reason))
    return answers[-1]["size"], answers[-1]["fits"]


def main() -> None:
    """Read the config on stdin, and print the sizes that fit."""
    question = json.load(sys.stdin)
    config, n_classes = Config.model_validate(question["config"]), question["n_classes"]
    labels = np.zeros((1, n_classes), np.uint8) if config.data.labels.is_multi_label else np.zeros(1, np.int64)
    with nullcontext() if gpus() else bounded(MEMORY_FRACTION, swap=False):  # on a GPU, its own memory counts
        steps = _steps(config, n_classes)
        for size in question["sizes"]:
            print(json.dumps({"size": size, "fits": False}), flush=True)  # the next line may end the process
            if all(_fits(step, size, labels) for step in steps):
                print(json.dumps({"size": size, "fits": True}), flush=True)
                break


def _steps(config: Config, n_classes: int) -> list[TrainStep]:
    """Return the training step of each stage."""
    # The weights do not change the memory that a step needs.
    backbones = tuple(backbone.model_copy(update={"weights": "none"}) for backbone in config.backbones)
    random = config.model_copy(update={"backbone": backbones if len(backbones) > 1 else backbones[0]})
    classifier = build_classifier(random, n_classes)
    objective = Objective.from_config(config, n_classes)
    convolutional = choose_engine(config.engine, config.precision).precision
    steps = []
    for stage in stages_of(config):
        tail = cut_classifier(classifier, stage.unfreeze, stage.batch_norm).training_tail
        precision = convolutional if is_convolutional(tail) else "float32"
        update = UpdateSettings.from_config(config, classifier)
        steps.append(TrainStep(tail, build_optimizer(stage.optimizer), objective, precision, update))
    return steps


def _fits(step: TrainStep, size: int, labels: NDArray[Any]) -> bool:
    """Return whether there is enough memory for a step with this batch size; `labels` are those of one image."""
    try:
        inputs = [np.zeros((size, *tensor.shape[1:]), np.float32) for tensor in step.tail.inputs]
        step.train_epoch([(inputs, labels.repeat(size, axis=0))], iter([1.0]), "trying")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


if __name__ == "__main__":
    main()
