"""Compute features as tasks on a Ray cluster, and store them in this machine's cache.

Tasks read the images under their own paths, so all nodes need the same folder. The converted graph travels through
Ray's object store: nodes need neither weights nor TensorFlow, nor a cache of their own. A task whose node is lost runs
again on another one.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.cluster.connection import cpus_per_task, failure_of, task_environment
from cnncli.dataset.records import ImageRecord
from cnncli.engines.engine import Precision
from cnncli.engines.mirrored import Tta
from cnncli.engines.openvino import OpenVinoEngine
from cnncli.errors import ClusterError, CnncliError, ImageError, Message
from cnncli.features.extract import Computed, Extraction, FeatureSet, Trunk, compute_here, images_to_read
from cnncli.images.decode import PixelSpec
from cnncli.runtime.threads import batched
from cnncli.version import __version__

TASK_IMAGES = 512
"""Number of images of a task at most, about a second of work, of which a few milliseconds are Ray's."""
TASK_BYTES = 2**26
"""Size of the features of a task, approximately."""
MAX_RETRIES = 5
"""Number of times that a task is repeated after its node or worker was lost; each lost node costs a task one."""
MIN_TASKS = 8
"""Minimum number of tasks per slot, so that all nodes end at about the same time."""
TASKS_AHEAD = 3
"""Tasks per slot that are submitted in advance."""


@dataclass(frozen=True)
class SentTrunk:
    """A trunk as a task gets it.

    Attributes:
        graph: The `.xml` and the `.bin` file of the converted graph.
        identity: Identity of the engine on this machine, which that on the node must equal.
    """

    graph: tuple[bytes, bytes]
    precision: Precision
    batch: int
    fingerprint: str
    identity: Mapping[str, str | int]


@dataclass(frozen=True)
class SentExtraction:
    """An extraction as a task gets it; see `Extraction`.

    Attributes:
        versions: Versions of the packages on this machine that determine pixels, which those on the node must equal.
    """

    trunks: tuple[SentTrunk, ...]
    pixels: PixelSpec
    augmentation: AugmentationConfig
    tta: Tta
    views: int
    versions: Mapping[str, str | int]

    @classmethod
    def of(cls, features: FeatureSet) -> SentExtraction:
        """Return the extraction of features. Raises ClusterError if Keras runs it."""
        extraction = features.extraction
        trunks = tuple(_sent(trunk) for trunk in extraction.trunks)
        versions = pixel_versions(extraction.pixels)
        return cls(trunks, extraction.pixels, extraction.augmentation, extraction.tta, features.views, versions)

    def receive(self, images: Sequence[ImageRecord]) -> FeatureSet:
        """Return the features of images, with engines on this node."""
        trunks = tuple(Trunk(_engine(one), one.fingerprint) for one in self.trunks)
        return FeatureSet(Extraction(trunks, self.pixels, self.augmentation, self.tta), images, self.views)


Answer = tuple[list[Computed], list[tuple[str | Path, str]], list[str]]
"""Result of a task: features, unusable images with their reasons, and differences between its node and this machine."""


class ClusterTasks:
    """Computes missing features on a cluster, in place of `compute_here`."""

    def __init__(self, ray: Any) -> None:
        """Use the cluster to which ray is connected."""
        self._ray = ray
        self._n_cpus = cpus_per_task(ray)
        options = {"max_retries": MAX_RETRIES, "scheduling_strategy": "SPREAD", "num_cpus": self._n_cpus}
        self._task = ray.remote(**options, runtime_env=task_environment(self._n_cpus))(compute_task)

    def __call__(
        self, features: FeatureSet, missing: Sequence[set[str]]
    ) -> Iterator[tuple[list[Computed], list[ImageError]]]:
        """Yield the missing features of some images after the others, in the order in which they are computed.

        Raises:
            ClusterError: Keras runs the frozen layers, a node computes other features than this machine, or a task
                failed or was lost more often than `MAX_RETRIES`.
        """
        images = images_to_read(features, set().union(*missing))
        sent, n_slots = self._ray.put(SentExtraction.of(features)), self._n_slots()
        per_image = len(missing) * features.extraction.bytes_per_image
        n_images = max(1, min(TASK_IMAGES, TASK_BYTES // per_image, -(-len(images) // (MIN_TASKS * n_slots))))
        running: list[Any] = []
        for part in batched(images, n_images):
            digests = {image.digest for image in part}
            running.append(self._task.remote(sent, part, [of_version & digests for of_version in missing]))
            if len(running) >= TASKS_AHEAD * n_slots:
                yield self._next(running)
        while running:
            yield self._next(running)

    def _next(self, running: list[Any]) -> tuple[list[Computed], list[ImageError]]:
        (done, *_), _ = self._ray.wait(running)
        running.remove(done)
        try:
            computed, errors, differences = self._ray.get(done)
        except self._ray.exceptions.RayError as error:
            raise _task_failed(error) from error
        if differences:
            text = f"A node of the cluster would compute other features: {'; '.join(differences)}."
            remedy = "Use nodes like this machine, or `cnncli extract --shard` and train on such a node."
            raise ClusterError(Message("cluster-node-differs", f"{text} {remedy}", received=tuple(differences)))
        return computed, [ImageError(path, reason) for path, reason in errors]

    def _n_slots(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)) // self._n_cpus)


def compute_task(sent: SentExtraction, images: Sequence[ImageRecord], missing: list[set[str]]) -> Answer:
    """Compute the missing features of images on a node."""
    if differences := differing(pixel_versions(sent.pixels), sent.versions):
        return [], [], differences
    features = sent.receive(images)
    for trunk, own in zip(sent.trunks, features.extraction.trunks, strict=True):
        differences += differing(own.engine.identity, trunk.identity)
    if differences:
        return [], [], differences
    computed: list[Computed] = []
    errors: list[tuple[str | Path, str]] = []
    for found, failed in compute_here(features, missing):
        computed += found
        errors += [(error.path, error.reason) for error in failed]
    return computed, errors, []


def _task_failed(error: Exception) -> CnncliError:
    """Return the error for a failed task: its own one if the user can fix that."""

    def describe(reason: str) -> Message:
        text = f"--cluster: a task failed on a node ({reason})."
        remedy = "Check that all nodes have the same version of cnncli and enough memory."
        return Message("cluster-task-failed", f"{text} {remedy}", reason=reason)

    return failure_of(error, describe)


def pixel_versions(pixels: PixelSpec) -> dict[str, str | int]:
    """Return the versions of all packages that determine the pixels of images and of their views on this machine."""
    import cv2

    return {"cnncli": __version__, "opencv": cv2.__version__, **pixels.key()}


def differing(here: Mapping[str, str | int], expected: Mapping[str, str | int]) -> list[str]:
    """Return a description of each value on a node that is not the expected one."""
    return [f"{name} is {here.get(name)}, not {value}" for name, value in expected.items() if here.get(name) != value]


def _sent(trunk: Trunk) -> SentTrunk:
    engine = trunk.engine
    if not isinstance(engine, OpenVinoEngine):
        text = "--cluster: the frozen layers are run by Keras here, whose network cannot be sent to other nodes."
        remedy = "Use `cnncli extract --shard` on each node, or engine=openvino."
        raise ClusterError(Message("cluster-needs-openvino", f"{text} {remedy}", key="engine"))
    graph = (engine.path.read_bytes(), engine.path.with_suffix(".bin").read_bytes())
    return SentTrunk(graph, engine.choice.precision, engine.batch, trunk.fingerprint, dict(engine.identity))


def _engine(trunk: SentTrunk) -> OpenVinoEngine:
    digest = hashlib.sha256(b"".join(trunk.graph)).hexdigest()
    return _engine_of(_Graph(trunk.graph, digest), trunk.precision, trunk.batch)


@dataclass(frozen=True, eq=False)
class _Graph:
    """The files of a graph, compared by their hash."""

    files: tuple[bytes, bytes]
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Graph) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@cache
def _engine_of(graph: _Graph, precision: Precision, batch: int) -> OpenVinoEngine:
    """Return the engine of a graph, which a worker process compiles once."""
    # Ray kills workers, so the files are deleted at once; OpenVINO keeps the weights mapped, which Windows refuses.
    with tempfile.TemporaryDirectory(prefix="cnncli-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "trunk.xml"
        path.write_bytes(graph.files[0])
        path.with_suffix(".bin").write_bytes(graph.files[1])
        engine = OpenVinoEngine(path, precision, batch)
        _ = engine.identity  # reads the constants of an int8 graph
    return engine
