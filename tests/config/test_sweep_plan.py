"""The runs of a sweep: their settings, seeds and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from cnncli.config.schema import Config
from cnncli.config.sweep_plan import Draw, plan_searches, plan_sweep
from cnncli.config.writer import dump_config
from cnncli.dataset.source import read_config
from cnncli.errors import ConfigError
from tests.support.drawing import tiny_config

RATES = "training.optimizer.learning_rate=1e-4..1e-1"
Read = Callable[[Sequence[str]], Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return the function that reads the config of a tiny network with overrides."""
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_config(tiny_config(tmp_path, name="tiny", mode="from-scratch", training={"epochs": 1})))
    return partial(read_config, path)


def test_a_grid_has_all_combinations_and_seeds(read: Read) -> None:
    """Every combination is a run with a name of its own; single values apply to all runs but are not in names."""
    cells = plan_sweep(read, ["head.pooling=avg,max", "training.epochs=2"], (3, 4))

    assert [cell.name for cell in cells] == [
        "tiny-pooling-avg-seed-3",
        "tiny-pooling-avg-seed-4",
        "tiny-pooling-max-seed-3",
        "tiny-pooling-max-seed-4",
    ]
    assert [(cell.config.head.pooling, cell.config.seed) for cell in cells] == [
        ("avg", 3),
        ("avg", 4),
        ("max", 3),
        ("max", 4),
    ]
    assert {cell.config.training.epochs for cell in cells} == {2}


def test_commas_inside_brackets_do_not_separate_values(read: Read) -> None:
    """Lists and groups are single values, and names that cannot contain them end with a digest."""
    cells = plan_sweep(read, ["backbone.options={filters: [4, 8]},{filters: [8, 16]}", "data.image_size=[32, 40]"])

    assert [cell.config.backbone.options for cell in cells] == [{"filters": [4, 8]}, {"filters": [8, 16]}]
    assert {cell.config.data.image_size for cell in cells} == {(32, 40)}
    assert len({cell.name for cell in cells}) == 2


def test_long_names_are_shortened_and_remain_different(read: Read) -> None:
    """Names have at most 100 characters, also for long values that differ only at their end."""
    values = [f"[{{dense: 8}}, {', '.join(['{dropout: 0.5}'] * 20)}, {{dense: {n}}}]" for n in (1, 2)]
    names = [cell.name for cell in plan_sweep(read, [f"head.layers={','.join(values)}"])]

    assert max(map(len, names)) <= 100
    assert len(set(names)) == 2


def test_all_problems_of_a_grid_are_reported_at_once(read: Read) -> None:
    """Wrong values of several runs are reported together, each once, before anything is trained."""
    with pytest.raises(ConfigError) as caught:
        plan_sweep(read, ["training.epochs=1,ten,0", "head.pooling=avg,max"])

    assert [problem.facts["received"] for problem in caught.value.problems] == ["ten", 0]


def test_a_misspelt_key_is_one_problem(read: Read) -> None:
    """An unknown setting is reported once, not for each of its values, nor for the names of the runs."""
    with pytest.raises(ConfigError) as caught:
        plan_sweep(read, ["head.poolin=avg,max"])

    assert caught.value.codes == ("config-unknown-key",)
    assert caught.value.facts["key"] == "head.poolin"
    assert "head.pooling" in str(caught.value.facts["hint"])


def test_a_wrong_first_value_is_one_problem(read: Read) -> None:
    """Without a valid first config, from which the names are made, the names are not reported as wrong."""
    with pytest.raises(ConfigError) as caught:
        plan_sweep(read, ["head.pooling=agv,max"])

    assert caught.value.codes == ("config-unknown-choice",)


def test_a_random_search_is_compared_with_a_grid(read: Read) -> None:
    """Row 138: single values hold for both searches, each has its own values, and both use all seeds."""
    against = ["training.optimizer.learning_rate=1e-4,1e-2"]
    cells = plan_searches(read, ["training.epochs=2", RATES], against, (0, 1), Draw(3))
    rates = [cell.config.training.optimizer.learning_rate for cell in cells]

    assert [cell.search for cell in cells] == ["random search"] * 6 + ["grid"] * 4
    assert [cell.config.seed for cell in cells] == [0, 1] * 5
    assert rates[6:] == [1e-4, 1e-4, 1e-2, 1e-2]
    assert len(set(rates[:6])) == 3
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert {cell.config.training.epochs for cell in cells} == {2}
    assert len({cell.name for cell in cells}) == 10


def test_a_random_search_is_compared_with_another_one(read: Read) -> None:
    """Row 138: if the second search has a range, too, it draws as many settings."""
    cells = plan_searches(read, [RATES], ["training.optimizer.learning_rate=1e-3..1e-2"], (), Draw(4, seed=1))

    assert [cell.search for cell in cells] == ["random search"] * 4 + ["random search 2"] * 4
