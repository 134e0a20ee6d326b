"""`cnncli crossval`: cross-validate the head of a config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cnncli.augmentation.settings import augmentation_notes
from cnncli.config.notes import notes_of
from cnncli.config.overrides import variable_notes
from cnncli.config.schema import Config
from cnncli.config.solver import exact_obstacles
from cnncli.dataset.build import index_images
from cnncli.engines.build import graphs_in_use
from cnncli.errors import ConfigError, Message
from cnncli.evaluation.cross_validation import DEFAULT_FOLDS, CrossValidation, Pool, cross_validate
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.networks.template import has_templates
from cnncli.storage.atomic import output_path, write_atomically
from cnncli.storage.cache_dir import GRAPHS, make_cache_dir
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.exact_head import FrozenNetwork

log = logging.getLogger(__name__)


@standard_settings()
def crossval(
    config: Config,
    console: Console,
    folds: int | None = None,
    repeats: int = 1,
    out: Path | None = None,
    show: Callable[[CrossValidation], None] | None = None,
) -> CrossValidation:
    """Cross-validate the head of a config on its training and validation images.

    Args:
        config: A config whose head can be solved exactly.
        console: Console for progress.
        folds: Number of folds; None: `data.folds`, or else 5.
        repeats: Number of seeds for the folds, the first of which is that of the config.
        out: CSV for the prediction of each held-out image; None: none is written.
        show: Called with the result before `out` is written, so that a full disk does not lose it.

    Raises:
        ConfigError: The head cannot be solved exactly.
        DataError: Problems of the images, or too few for the folds.
        CnncliError: `out` is not the name of a CSV, or its folder does not exist.
    """
    path = None if out is None else output_path(out, (".csv",))
    pool, n_folds = load_pool(config, "crossval", console), folds or config.data.folds or DEFAULT_FOLDS
    console.phase("crossval", f"{n_folds} folds of {len(pool.images):,} images, {repeats} × · test images are not used")
    found = cross_validate(pool, n_folds, range(config.seed, config.seed + repeats))
    if show:
        show(found)
    if path is not None:
        write_atomically(path, found.predictions_text())
    return found


def load_pool(config: Config, command: str, console: Console) -> Pool:
    """Return the training and validation images of a config with their features; for errors, see `frozen_network`."""
    with frozen_network(config, command, console) as frozen:
        return Pool.load(frozen)


@contextmanager
def frozen_network(config: Config, command: str, console: Console) -> Iterator[FrozenNetwork]:
    """Provide the frozen network below a config's head, and keep what is cached of it inside the block.

    Raises:
        ConfigError: The head cannot be solved exactly, which `command` needs.
        CacheError: The cache directory cannot be created.
        DataError: All problems of the images.
        WeightsError: The backbone's weights cannot be downloaded, read or matched.
    """
    for key, reason in exact_obstacles(config):
        text = f"cnncli {command} solves one linear layer on frozen features for each fold, but {key} {reason}."
        remedy = "Change that setting for this command with KEY=VALUE, or compare runs with other seeds."
        raise ConfigError(Message("config-not-exact", f"{text} {remedy}", key=key, command=command))
    if config.training.solver == "gradient":
        log.info(Message("training-solved-for-folds", "The heads of the folds are solved exactly, not by gradients."))
    graphs = make_cache_dir() / GRAPHS
    for note in (*variable_notes(), *notes_of(config), *augmentation_notes(config.augmentation)):
        log.warning(note)
    if not has_templates(graphs, config):
        import_keras_meanwhile()
    manifest = index_images(config, console)
    context = TrainingContext.for_this_machine(config, manifest, console)
    with graphs_in_use(context.graphs), context.store:
        yield FrozenNetwork.of(context)
