"""Measure how much the validation loss changes if the cut of a finished run is moved without training.

    python scripts/measure_hand_over.py RUN [UNFREEZE ...]

A fine-tuning stage starts from the weights of the previous stage, but with a different trunk and tail: layers that the
engine computed as part of the trunk are now computed by Keras as part of the tail, in the precision of that stage. In
float32 the loss must not change (1e-4); in bfloat16 this measurement is the basis of `START_TOLERANCE` in
cnncli/training/stage_report.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from cnncli.config.modes import fine_tuning_stage
from cnncli.config.reader import load_resolved
from cnncli.dataset.manifest import Manifest
from cnncli.inference.predictor import load_spec
from cnncli.networks.classifier import load_classifier
from cnncli.runs.folder import runs_dir_from
from cnncli.runs.listing import open_run
from cnncli.terminal.console import Console
from cnncli.training.context import StageSetup, TrainingContext
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep


def main(run_name: str, depths: list[str]) -> None:
    """Print one line per depth: the loss, and its difference from that of the frozen backbone."""
    run = open_run(run_name, runs_dir_from(None))
    config, spec = load_resolved(run.config), load_spec(run.engine)
    context = TrainingContext.for_this_machine(config, Manifest.from_csv(run.manifest), Console())
    classifier = load_classifier(run.model, spec.pretrained)
    first: float | None = None
    for depth in ["0", *depths]:
        stage = replace(fine_tuning_stage(config), unfreeze=int(depth) if depth.isdecimal() else depth)
        setup = StageSetup.build(classifier, stage, context)
        validation, _ = setup.load("validation")
        objective = Objective(spec.activation, len(spec.classes))
        step = TrainStep(setup.cut.tail, build_optimizer(stage.optimizer), objective, setup.precision)
        loss = step.evaluate(validation.in_order(32), f"unfreeze {depth}")["loss"]
        first = loss if first is None else first
        engine = setup.extraction.engine
        trunk = engine.choice.precision if engine else "no"
        where = f"{config.networks} {trunk} trunk, {setup.precision} tail, unfreeze {depth:>5}"
        print(f"{where}: val_loss {loss:.6f}, difference {abs(loss - first):.1e}")


if __name__ == "__main__":
    main(str(Path(sys.argv[1])), sys.argv[2:] or ["1", "4", "10", "all"])
