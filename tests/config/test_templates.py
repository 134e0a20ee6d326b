"""The configs that come with cnncli, as templates of `cnncli init`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cnncli.config.reader import load_config
from cnncli.config.schema import Config
from cnncli.config.templates import ConfigTemplate, shipped_root, templates

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = templates()
EVERY_TEMPLATE = pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))


def moved(template: ConfigTemplate, folder: Path, data: str | None = None) -> Config:
    """Return the config of a template that was written to a folder, with its table."""
    (folder / "mine.yaml").write_text(template.text("mine.yaml", data), encoding="utf-8")
    if template.table is not None:
        shutil.copy(template.table, folder)
    return load_config(folder / "mine.yaml", environment={}, check_paths=False)


def in_place_of(config: Config, data: Path, folder: Path) -> Config:
    """Return a config with other images, and with its table in a folder."""
    labels = config.data.labels
    if labels.path is not None:
        labels = labels.model_copy(update={"path": folder / labels.path.name})
    return config.model_copy(update={"data": config.data.model_copy(update={"path": data, "labels": labels})})


def test_every_config_is_a_template() -> None:
    """Each config of the project is a template of its own name, and the quickstart is the first."""
    assert shipped_root() == ROOT
    assert sorted(TEMPLATES) == sorted(path.stem for path in (ROOT / "configs").rglob("*.yaml"))
    assert next(iter(TEMPLATES)) == "quickstart"


def test_there_is_a_template_for_each_way_to_train() -> None:
    """Templates extract features, fine-tune, train from scratch, read a table, and have several labels per image."""
    configs = [template.config for template in TEMPLATES.values()]
    assert {config.mode for config in configs} == {"feature-extraction", "fine-tuning", "from-scratch"}
    assert any(config.data.labels.path and config.data.labels.is_multi_label for config in configs)


@EVERY_TEMPLATE
def test_a_template_has_the_settings_of_its_config(template: ConfigTemplate, tmp_path: Path) -> None:
    """A template reads its images from `data` next to it, and all other settings are those of the config."""
    config = moved(template, tmp_path)

    assert config == in_place_of(template.config, tmp_path / "data" / template.config.data.path.name, tmp_path)
    assert "../" not in (tmp_path / "mine.yaml").read_text(encoding="utf-8")


@EVERY_TEMPLATE
def test_a_template_reads_the_images_it_is_written_for(template: ConfigTemplate, tmp_path: Path) -> None:
    """With a folder of images, a template differs only in data.path."""
    config = moved(template, tmp_path, "'my # images'")

    assert config == in_place_of(template.config, tmp_path / "my # images", tmp_path)


@EVERY_TEMPLATE
def test_a_template_is_described_in_a_sentence(template: ConfigTemplate) -> None:
    """The description is the first sentence of the config's comment."""
    assert template.description.endswith((".", "?"))
    assert template.description in " ".join(template.path.read_text(encoding="utf-8").replace("\n# ", " ").split())[2:]
