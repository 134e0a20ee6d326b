"""Work on a Ray cluster of two nodes: a node is lost. Minutes on two cores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cnncli.cluster.machines import machines_at
from cnncli.errors import ClusterError
from cnncli.features.extract import Compute, FeatureSet
from cnncli.recipes.extract import extract_features
from cnncli.terminal.console import Console
from tests.recipes.on_cluster import two_nodes
from tests.recipes.test_extract import features_in
from tests.support.drawing import draw_dataset, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CONSOLE = Console(quiet=True)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Start a cluster of two nodes."""
    with two_nodes() as started:
        yield started


@pytest.mark.filterwarnings("ignore")  # of Ray
def test_extraction_survives_the_loss_of_a_node(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a node killed after the first results, the features are those of one process, bit by bit."""
    monkeypatch.setattr("cnncli.cluster.extraction.TASK_IMAGES", 8)
    config = tiny_config(draw_dataset(tmp_path / "data", 40, 10, 10), training={})
    lost = next(node for node in cluster.list_all_nodes() if not node.head)
    n_answers = 0

    def counting(compute: Compute) -> Compute:
        def count(features: FeatureSet, missing: Any) -> Any:
            nonlocal n_answers
            for answer in compute(features, missing):
                n_answers += 1
                if n_answers == 3:
                    cluster.remove_node(lost, allow_graceful=False)
                yield answer

        return count

    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "here"))
    extract_features(config, CONSOLE)
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cluster"))
    with machines_at(cluster.address) as machines:
        found = extract_features(config, CONSOLE, machines=replace(machines, compute=counting(machines.compute)))

    assert found.features.computed == len(features_in(tmp_path / "here"))
    assert n_answers > 10
    assert features_in(tmp_path / "cluster") == features_in(tmp_path / "here")


def test_a_missing_cluster_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without a cluster is reported."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'cnncli[cluster]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError) as caught, machines_at("auto"):
        pass

    assert caught.value.code == "cluster-not-found"
