"""How far the validation loss moves when the cut of a finished run moves, and nothing is trained.

    python scripts/measure_hand_over.py RUN [UNFREEZE ...]

A stage of fine-tuning starts from the weights of the stage before, on a path of its own: layers that the engine
computed in the trunk are computed by Keras in the tail, in the precision in which that stage trains. In float32 the
loss must stay (1e-4); in bfloat16 this is the measurement behind `HANDED_ON_TOLERANCE`,
in cnncli/training/stage_report.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from cnncli.config.modes import fine_tuning_stage
from cnncli.config.reader import load_resolved
from cnncli.dataset.manifest import Manifest
from cnncli.inference.predictor import read_recipe
from cnncli.networks.classifier import load_classifier
from cnncli.recipes.fit import build_workshop
from cnncli.runs.folder import runs_dir_from
from cnncli.runs.listing import open_run
from cnncli.terminal.console import Console
from cnncli.training.context import divide
from cnncli.training.inputs import Supply
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TailTrainer


def main(run_name: str, depths: list[str]) -> None:
    """Print one line per depth: the loss there, and its distance from the frozen backbone's."""
    run = open_run(run_name, runs_dir_from(None))
    config, recipe = load_resolved(run.config), read_recipe(run.engine)
    shop = build_workshop(config, Manifest.from_csv(run.manifest), Console())
    classifier = load_classifier(run.model, recipe.pretrained)
    handed: float | None = None
    for depth in ["0", *depths]:
        stage = replace(fine_tuning_stage(config), unfreeze=int(depth) if depth.isdecimal() else depth)
        division = divide(classifier, stage, shop)
        feed, _ = Supply.of(division, shop).validation_feed()
        objective = Objective(recipe.activation, len(recipe.classes))
        trainer = TailTrainer(division.cut.tail, build_optimizer(stage.optimizer), objective, division.precision)
        loss = trainer.score(feed.in_order(32), f"unfreeze {depth}").loss
        handed = loss if handed is None else handed
        trunk = division.engine.choice.precision if division.engine else "no"
        where = f"{config.backbone.name} {trunk} trunk, {division.precision} tail, unfreeze {depth:>5}"
        print(f"{where}: val_loss {loss:.6f}, moved {abs(loss - handed):.1e}")


if __name__ == "__main__":
    main(str(Path(sys.argv[1])), sys.argv[2:] or ["1", "4", "10", "all"])
