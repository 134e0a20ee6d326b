"""`cnncli learning-curve`: accuracy over the number of images, and how much more of them would help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnncli.config.schema import Config
from cnncli.evaluation.cross_validation import DEFAULT_FOLDS
from cnncli.evaluation.learning_curve import LearningCurve, measure_learning_curve
from cnncli.networks.backend import standard_settings
from cnncli.recipes.crossval import load_pool
from cnncli.report.learning_curve_plot import draw_learning_curve
from cnncli.storage.atomic import output_path
from cnncli.terminal.console import Console


@standard_settings()
def learning_curve(
    config: Config,
    console: Console,
    folds: int | None = None,
    target: float | None = None,
    out: Path | None = None,
    show: Callable[[LearningCurve], None] | None = None,
) -> LearningCurve:
    """Measure the accuracy of a config's head over the number of training images, and extrapolate it.

    Args:
        config: A config whose head can be solved exactly.
        console: Console for progress.
        folds: Number of folds; None: `data.folds`, or else 5.
        target: Accuracy (0-1) for which the necessary number of images is predicted.
        out: PNG or SVG to draw; None: none is drawn.
        show: Called with the result before `out` is drawn, so that a full disk does not lose it.

    Raises:
        ConfigError: The head cannot be solved exactly.
        DataError: Problems of the images, or too few of them.
        CnncliError: `out` is not the name of a PNG or SVG, or its folder does not exist.
    """
    path = None if out is None else output_path(out, (".png", ".svg"))
    pool, n_folds = load_pool(config, "learning-curve", console), folds or config.data.folds or DEFAULT_FOLDS
    console.phase("curve", f"{len(pool.images):,} images in {n_folds} folds · test images are not used")
    found = measure_learning_curve(pool, n_folds, config.seed, target)
    if show:
        show(found)
    if path is not None:
        draw_learning_curve(found, path)
    return found
