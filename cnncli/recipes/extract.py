"""`cnncli extract`: compute the features of a config's images into the cache, without training."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.augmentation.settings import augmentation_notes
from cnncli.config.notes import notes_of
from cnncli.config.overrides import variable_notes
from cnncli.config.schema import Config
from cnncli.config.solver import exact_obstacles
from cnncli.dataset.build import index_images
from cnncli.engines.build import graphs_in_use
from cnncli.features.extract import Counts, extract
from cnncli.features.merge import too_small
from cnncli.features.parts import ImagePart
from cnncli.networks.backend import import_keras_meanwhile, standard_settings
from cnncli.networks.template import has_templates
from cnncli.storage.cache_dir import FEATURES, GRAPHS, make_cache_dir
from cnncli.terminal.console import Console
from cnncli.training.context import TrainingContext
from cnncli.training.frozen_features import frozen_features
from cnncli.training.machines import HERE, Machines

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extracted:
    """Features that were computed.

    Attributes:
        part: The part of the images.
        images: Number of images in this part.
        features: Numbers of features that were computed and found in the cache.
        cache: Folder of the feature cache.
        seconds: Duration of the extraction, without indexing images and loading the network.
    """

    part: ImagePart
    images: int
    features: Counts
    cache: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the document printed by `extract --json`."""
        return {
            "shard": str(self.part),
            "images": self.images,
            "features": {"computed": self.features.computed, "reused": self.features.reused},
            "cache": str(self.cache),
            "seconds": round(self.seconds, 3),
        }


@standard_settings()
def extract_features(
    config: Config, console: Console, part: ImagePart | None = None, machines: Machines = HERE
) -> Extracted:
    """Compute the features of one part of the images that are not cached yet; of all images without `part`.

    Raises:
        CacheError: The features do not fit into the cache, or it cannot be written.
        ClusterError: The nodes of a cluster, if `machines` are one, cannot compute these features.
        DataError: All problems of the images.
        WeightsError: The backbone's weights cannot be downloaded, read or matched.
    """
    part, cache = part or ImagePart(), make_cache_dir()
    for note in (*variable_notes(), *notes_of(config), *augmentation_notes(config.augmentation)):
        log.warning(note)
    if any(exact_obstacles(config)) or not has_templates(cache / GRAPHS, config):
        import_keras_meanwhile()
    manifest = index_images(config, console)
    context = TrainingContext.for_this_machine(config, manifest, console)
    with graphs_in_use(context.graphs), context.store:
        sets = [part.features_of(one) for one in frozen_features(context)]
        needed, capacity = sum(one.size_bytes() for one in sets), context.store.capacity()
        missing = sum(one.missing(context.store) for one in sets)
        if missing and needed > capacity:
            raise too_small(needed, capacity)
        n_images = len({digest for one in sets for digest in one.digests})
        total = sum(one.total for one in sets)
        text = f"part {part}: {n_images:,} images · {total - missing:,} of {total:,} cached"
        console.phase("features", text)
        started, counts = time.monotonic(), Counts()
        for one in sets:
            counts += extract(one, context.store, console, machines.compute)[1]
    return Extracted(part, n_images, counts, cache / FEATURES, time.monotonic() - started)
