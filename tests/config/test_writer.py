"""A config that is written down reads back equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnncli.config.dialect import ConfigLoader
from cnncli.config.reader import config_from_mapping, dump_config, load_config, load_resolved
from cnncli.config.schema import Config, DataConfig, StageConfig, TrainingConfig
from cnncli.config.writer import described, settings_of
from tests.config.strategies import TEXTS, configs


def resolve(mapping: dict[str, Any]) -> Config:
    """A config of a mapping alone, whose paths need not exist."""
    return config_from_mapping(mapping, environment={}, check_paths=False)


@settings(max_examples=100, deadline=None)
@given(mapping=configs())
def test_dumped_config_reads_back_equal(mapping: dict[str, Any], tmp_path_factory: Any) -> None:
    """Any config: the text stands for the same config, and writing that gives the same text."""
    config = resolve(mapping)
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_bytes(dump_config(config).encode())
    again = load_resolved(path)
    assert again == config
    assert dump_config(again) == dump_config(config)
    assert [stage.model_fields_set for stage in again.training.stages or ()] == [
        stage.model_fields_set | {"unfreeze"} for stage in config.training.stages or ()
    ]


@settings(max_examples=30, deadline=None)
@given(mapping=configs())
def test_resolved_settings_can_be_given_back_as_a_mapping(mapping: dict[str, Any]) -> None:
    """The nested dictionaries of `settings_of` mean the same config."""
    config = resolve(mapping)
    assert resolve(settings_of(config)) == config


@settings(max_examples=300, deadline=None)
@example(text="\x85")  # PyYAML alone loses this line break
@given(text=TEXTS | st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_in_a_value(text: str) -> None:
    """Text that YAML would take for a number, a date, a comment or a tag is quoted."""
    config = Config(
        mode="fine-tuning", data=DataConfig(path=Path("/x")), training=TrainingConfig(unfreeze=text or "all")
    )
    dumped = dump_config(config)
    assert yaml.safe_load(dumped)["training"]["unfreeze"] == config.training.unfreeze
    assert yaml.load(dumped, ConfigLoader)["training"]["unfreeze"] == config.training.unfreeze


def test_bytes_that_are_no_utf8_survive_in_the_path(tmp_path: Path) -> None:
    """A folder's name may be any bytes."""
    path = tmp_path / "caf\udce9"
    config = resolve({"data": {"path": path}})
    (tmp_path / "dumped.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_resolved(tmp_path / "dumped.yaml").data.path == path


def test_stage_keeps_what_it_inherits_open(tmp_path: Path) -> None:
    """What a stage takes from training stays so, and an explicit null stays an answer."""
    training = TrainingConfig(epochs=7, stages=(StageConfig(name="one"), StageConfig(name="two", early_stopping=None)))
    config = Config(data=DataConfig(path=tmp_path), training=training)
    written = settings_of(config)["training"]["stages"]
    assert written == [{"name": "one", "unfreeze": 0}, {"name": "two", "unfreeze": 0, "early_stopping": None}]


def test_settings_without_effect_are_left_out(tmp_path: Path) -> None:
    """They would be refused when the file is read again."""
    written = settings_of(Config(data=DataConfig(path=tmp_path)))
    assert "unfreeze" not in written["training"]
    assert set(written["training"]["schedule"]) == {"name", "warmup_epochs"}
    assert "cval" not in written["augmentation"]


def test_description_is_a_config_with_its_stages_in_comments(tmp_path: Path) -> None:
    """What null stands for and the stages of the mode are said; the text is still the same config."""
    config = config_from_mapping({"data": {"path": tmp_path}, "mode": "fine-tuning"}, environment={})
    text = described(config)
    assert "  image_size: null  # 224, EfficientNetLite0's own\n" in text
    assert "  epochs: null  # 10 where a stage does not say\n" in text
    assert text.endswith(
        "# stages:\n"
        "#   head: unfreeze 0, 10 epochs, adam 0.001, constant, batch norm: frozen\n"
        "#   fine-tune: unfreeze 4, 10 epochs, adam 0.0001, constant, batch norm: frozen\n"
    )
    (tmp_path / "described.yaml").write_text(text)
    assert load_config(tmp_path / "described.yaml", environment={}) == config
