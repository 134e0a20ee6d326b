"""Writing configs and reading them back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import config_from_mapping, load_config, load_resolved
from cnncli.config.schema import Config
from cnncli.config.training_settings import StageConfig, TrainingConfig
from cnncli.config.writer import describe_config, dump_config, settings_of
from cnncli.config.yaml_document import ConfigLoader
from tests.config.strategies import TEXTS, configs


def resolve(mapping: dict[str, Any]) -> Config:
    """Return the config of a mapping, without checking that its paths exist."""
    return config_from_mapping(mapping, environment={}, check_paths=False)


@given(mapping=configs())
def test_dumped_config_reads_back_equal(mapping: dict[str, Any], tmp_path_factory: Any) -> None:
    """Any config that is written to a file reads back as an equal config, which is written as the same text."""
    config = resolve(mapping)
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_bytes(dump_config(config).encode())
    again = load_resolved(path)
    assert again == config
    assert dump_config(again) == dump_config(config)
    assert [stage.model_fields_set for stage in again.training.stages or ()] == [
        stage.model_fields_set | {"unfreeze"} for stage in config.training.stages or ()
    ]


@given(mapping=configs())
def test_a_short_text_reads_back_equal(mapping: dict[str, Any], tmp_path_factory: Any) -> None:
    """A config written without default values reads back as an equal config."""
    config = resolve(mapping)
    path = tmp_path_factory.getbasetemp() / "short.yaml"
    path.write_bytes(dump_config(config, is_short=True).encode())

    assert load_resolved(path) == config


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ("a/b/configs/data", "data"),
        ("a/b/data", "../data"),
        ("a/data", "../../data"),
        ("data", None),
        ("a/b/configs/~data", "./~data"),
    ],
)
def test_near_images_are_relative_to_the_file(data: str, written: str | None, tmp_path: Path) -> None:
    """Images and labels up to two folders above the file have relative paths, others absolute ones."""
    path, folder = tmp_path / data, tmp_path / "a" / "b" / "configs"
    folder.mkdir(parents=True)
    config = resolve({"data": {"path": path, "labels": {"path": path / "labels.csv"}}})
    (folder / "config.yaml").write_text(dump_config(config, is_short=True, folder=folder))
    found = yaml.safe_load((folder / "config.yaml").read_text())["data"]

    expected = written or str(path)
    assert (found["path"], found["labels"]["path"]) == (expected, f"{expected}/labels.csv")
    assert load_resolved(folder / "config.yaml").data.path == path


def test_a_short_text_has_only_what_differs_from_the_defaults() -> None:
    """Settings with their default values are left out of a short text."""
    config = resolve({"data": {"path": "/x"}, "seed": 7, "head": {"pooling": "max"}, "training": {"solver": "exact"}})

    written = yaml.safe_load(dump_config(config, is_short=True))
    assert written == {"seed": 7, "data": {"path": "/x"}, "head": {"pooling": "max"}, "training": {"solver": "exact"}}


@given(mapping=configs())
def test_resolved_settings_read_back_equal(mapping: dict[str, Any]) -> None:
    """The nested dictionaries that `settings_of` returns are read as an equal config."""
    config = resolve(mapping)
    assert resolve(settings_of(config)) == config


@example(text="\x85")  # PyYAML by itself loses this line break
@given(text=TEXTS | st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_in_a_value(text: str) -> None:
    """Text that YAML would interpret as a number, date, comment or tag is quoted when it is written."""
    config = Config(
        mode="fine-tuning", data=DataConfig(path=Path("/x")), training=TrainingConfig(unfreeze=text or "all")
    )
    dumped = dump_config(config)
    assert yaml.safe_load(dumped)["training"]["unfreeze"] == config.training.unfreeze
    assert yaml.load(dumped, ConfigLoader)["training"]["unfreeze"] == config.training.unfreeze


def test_bytes_that_are_not_utf8_survive_in_the_path(tmp_path: Path) -> None:
    """A folder name with bytes that are not UTF-8 is written and read back unchanged."""
    path = tmp_path / "caf\udce9"
    config = resolve({"data": {"path": path}})
    (tmp_path / "dumped.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_resolved(tmp_path / "dumped.yaml").data.path == path


def test_settings_that_a_stage_inherits_are_left_out(tmp_path: Path) -> None:
    """Settings that a stage inherits are not written, but an explicit null is."""
    training = TrainingConfig(epochs=7, stages=(StageConfig(name="one"), StageConfig(name="two", early_stopping=None)))
    config = Config(data=DataConfig(path=tmp_path), training=training)
    written = settings_of(config)["training"]["stages"]
    assert written == [{"name": "one", "unfreeze": 0}, {"name": "two", "unfreeze": 0, "early_stopping": None}]


def test_settings_without_effect_are_left_out(tmp_path: Path) -> None:
    """Settings without effect are not written, because they would be refused when the file is read."""
    written = settings_of(Config(data=DataConfig(path=tmp_path)))
    assert "unfreeze" not in written["training"]
    assert set(written["training"]["schedule"]) == {"name", "warmup_epochs"}
    assert "cval" not in written["augmentation"]


def test_description_is_a_config_with_its_stages_in_comments(tmp_path: Path) -> None:
    """A described config has comments that explain null values and list the stages, and it still reads back equal."""
    config = config_from_mapping({"data": {"path": tmp_path}, "mode": "fine-tuning"}, environment={})
    text = describe_config(config)
    (size,) = re.findall(r"^  image_size: null  # (.*)$", text, re.M)
    (epochs,) = re.findall(r"^  epochs: null  # (\d+)", text, re.M)
    assert "224" in size
    assert "EfficientNetLite0" in size
    assert epochs == "10"
    assert re.findall(r"^#   (\S+): unfreeze (\d+), (\d+) epochs, adam (\S+),", text, re.M) == [
        ("head", "0", "10", "0.001"),
        ("fine-tune", "4", "10", "0.0001"),
    ]
    (tmp_path / "described.yaml").write_text(text)
    assert load_config(tmp_path / "described.yaml", environment={}) == config
