"""Configs and sample images that come with cnncli, from which `cnncli init --template` writes a config."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cnncli.config.reader import load_config
from cnncli.config.schema import Config
from cnncli.errors import CnncliError, Message, printable
from cnncli.terminal.suggestions import did_you_mean

SAMPLE = Path("data", "sample")
"""Folder of the sample images, relative to a config that reads them."""

_DATA_PATH = re.compile(r"^(  path: )\S+", re.MULTILINE)


def shipped_root() -> Path:
    """Return the folder with `configs` and `data/sample`: inside an installed package, or the checkout around it."""
    package = Path(__file__).parents[1]
    return package / "shipped" if (package / "shipped").is_dir() else package.parent


@dataclass(frozen=True)
class ConfigTemplate:
    """A config that comes with cnncli."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the template."""
        return self.path.stem

    @cached_property
    def config(self) -> Config:
        """The config, as if it were in a checkout of cnncli."""
        return load_config(self.path, environment={}, check_paths=False)

    @property
    def description(self) -> str:
        """The first sentence of the config's comment."""
        lines = self.path.read_text(encoding="utf-8").split("\n#\n")[0].splitlines()
        return re.split(r"(?<=\.) ", " ".join(line.removeprefix("# ") for line in lines))[0]

    @property
    def reads_sample(self) -> bool:
        """Whether the images are the sample that comes with cnncli."""
        return self.config.data.path == shipped_root() / SAMPLE

    @property
    def table(self) -> Path | None:
        """The table of labels next to the config, if it has one."""
        return self.config.data.labels.path

    def text(self, out: str, data: str | None = None) -> str:
        """Return the text of the config for another place.

        Args:
            out: Name of the file, as in the commands of the comment.
            data: Images, relative to the file; None: those of the template, in `data` next to the file.
        """
        text = self.path.read_text(encoding="utf-8")
        own = self.path.relative_to(shipped_root()).as_posix()
        text = re.sub(r"(?:\.\./)+data/", "data/", text.replace(own, out))
        return text if data is None else _DATA_PATH.sub(lambda match: match[1] + data, text, count=1)


def templates() -> dict[str, ConfigTemplate]:
    """Return the templates by name: the quickstart first, those of the course last."""
    found = sorted((shipped_root() / "configs").rglob("*.yaml"), key=_place)
    return {path.stem: ConfigTemplate(path) for path in found}


def _place(path: Path) -> tuple[bool, int, str]:
    return path.parent.name == "course", len(path.parts), path.stem


def find_template(name: str) -> ConfigTemplate:
    """Return a template. Raises CnncliError if there is none of this name."""
    known = templates()
    if name not in known:
        hint = did_you_mean(name, known) or "`cnncli init --template` lists them."
        text = f"{printable(name)}: no such template. {hint}"
        raise CnncliError(Message("usage-template-unknown", text, received=name, expected=tuple(known)))
    return known[name]


def copy_sample(folder: Path) -> Path:
    """Copy the sample images to `data/sample` in a folder, unless it is there, and return its path."""
    target = folder / SAMPLE
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=target.parent) as temporary:
            shutil.copytree(shipped_root() / SAMPLE, Path(temporary) / "sample").rename(target)
    return target
