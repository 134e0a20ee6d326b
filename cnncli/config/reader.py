"""Read a file, the command line and the environment into one checked `Config`.

Precedence: command line, environment, file, default. All problems are reported together, including missing folders and
files; images and weights are read later. Does not import TensorFlow.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnncli.catalogue.datasets import DATASETS
from cnncli.catalogue.losses import LOSSES
from cnncli.catalogue.networks import MODEL_SUFFIX, is_model_file
from cnncli.config.check import check
from cnncli.config.overrides import Overrides, assign, parse_environment, parse_overrides
from cnncli.config.rules import RULES, Draft
from cnncli.config.schema import CacheConfig, Config
from cnncli.config.solver import choose_solver
from cnncli.config.suggestions import names_beside
from cnncli.config.tree import Node, Origin, Problem, raise_all, tree_of
from cnncli.config.yaml_document import read_document
from cnncli.errors import ConfigError, Message, printable, reason_of
from cnncli.metrics.table import LAST
from cnncli.shards.listing import find_shards, is_sharded
from cnncli.shards.places import SUFFIXES as SHARD_SUFFIXES
from cnncli.shards.places import is_remote
from cnncli.terminal.suggestions import did_you_mean

WEIGHTS_WORDS = ("imagenet", "none")
WEIGHTS_SUFFIXES = (".weights.h5", ".h5", ".keras")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
MAX_PARTS, MAX_SHOWN = 256, 2_000
"""Number of parents to search for a missing path, and number of its characters to show."""


def load_config(
    source: str | Path,
    overrides: Overrides = (),
    *,
    environment: Mapping[str, str] = os.environ,
    check_paths: bool = True,
) -> Config:
    """Read a YAML file; relative paths in it are relative to its folder.

    Args:
        source: The file.
        overrides: `key=value` texts, or a mapping from dotted keys to values. Relative paths in them are relative to
            the current folder.
        environment: Variables, of which `CNNCLI_*` are read; default: those of this process.
        check_paths: Whether data and weights must exist.

    Raises:
        ConfigError: All problems, one line each.
    """
    source = Path(source)
    if is_table(source) and source.is_file():
        name = printable(shlex.quote(str(source)))
        hint = f"`cnncli data check {name}` checks it, and `cnncli init {name}` writes a config for it."
        raise_all([Problem("config-is-table", Origin(str(source), source.parent, file=source), "", "a table",
            expected="a YAML config", hint=hint)])  # fmt: skip
    tree, problems = read_document(source)
    return _resolve(tree, problems, overrides, environment, check_paths)


def load_resolved(source: str | Path) -> Config:
    """Read a config written by `dump_config`, without overrides; its data need not exist."""
    return load_config(source, environment={}, check_paths=False)


def load_config_or_folder(source: str | Path, overrides: Overrides = ()) -> Config:
    """Read a config, or return the defaults for a folder of images or a table; a run raises ConfigError."""
    if (Path(source) / "run.json").is_file():
        run = printable(source)
        expected = "a config, a folder of images or a table"
        remedy = f"Use `cnncli finetune {run}` to continue it, or `cnncli evaluate {run}` to see its metrics."
        text = f"{run}: is a run directory; expected {expected}. {remedy}"
        raise ConfigError(Message("config-is-run", text, path=Path(source), expected=expected))
    if is_data(source):
        return config_from_mapping({"data": data_source(source)}, overrides)
    tree, problems = read_document(Path(source), "a YAML config, a folder of images or a table")
    return _resolve(tree, problems, overrides, os.environ, check_paths=True)


def is_data(source: str | Path) -> bool:
    """Return whether a path is that of images: a folder, a table of labels, or shards."""
    return Path(source).is_dir() or is_table(source) or is_sharded(source)


def is_table(source: str | Path) -> bool:
    """Return whether a path is that of a table of labels, by its suffix; a Parquet file with images is a shard."""
    return Path(source).suffix.lower() in TABLE_SUFFIXES and not is_sharded(source)


def data_source(source: str | Path) -> dict[str, object]:
    """Return the settings of `data` for images: a folder or shards, or a table, whose images are below its folder."""
    return {"path": Path(source).parent, "labels": source} if is_table(source) else {"path": source}


def config_from_mapping(
    mapping: Mapping[str, object],
    overrides: Overrides = (),
    *,
    environment: Mapping[str, str] = os.environ,
    check_paths: bool = True,
) -> Config:
    """Return the config of nested settings, such as `{"data": {"path": "flowers"}, "training": {"epochs": 5}}`.

    Relative paths are relative to the current folder. For the other arguments, see `load_config`.
    """
    tree = tree_of(mapping, Origin("", Path.cwd()))
    return _resolve(tree, [], overrides, environment, check_paths)


def cache_settings(recorded: CacheConfig | None = None, environment: Mapping[str, str] = os.environ) -> CacheConfig:
    """Return the cache settings of the environment, or else of a run, or else the defaults."""
    ours = {name: value for name, value in environment.items() if name.startswith("CNNCLI_CACHE__")}
    settings = {"data": {"path": "."}, "cache": recorded.model_dump() if recorded else {}}
    return config_from_mapping(settings, environment=ours, check_paths=False).cache


def _resolve(
    tree: Node | None, problems: list[Problem], overrides: Overrides, environment: Mapping[str, str], check_paths: bool
) -> Config:
    """Merge the sources, check the result, and complete it.

    Without a tree (the file is not YAML), problems of the other sources are still reported, but not missing settings.
    """
    whole = tree or Node({}, Origin("", Path.cwd()))
    if whole.value is None:
        whole.value = {}
    if isinstance(whole.value, dict):
        for assignments, found in (parse_environment(environment), parse_overrides(overrides)):
            problems += [*found, *filter(None, (assign(whole, *assignment) for assignment in assignments))]
    values, wrong = check(whole)
    unread = {problem.key for problem in problems if problem.code != "config-duplicate-key"}
    problems += [
        problem
        for problem in wrong
        if problem.key not in unread and (tree is not None or problem.code != "config-missing-key")
    ]
    draft = Draft(_complete(values, whole), whole, frozenset(problem.key for problem in wrong))
    for rule in RULES:
        problems += rule(draft)
    if check_paths:
        problems += _missing_paths(draft)
    raise_all(problems)
    return draft.config


def _complete(values: dict[str, Any], tree: Node) -> Config:
    """Return the config of valid values, with absolute paths, and defaults that depend on other settings."""
    data, backbone = (values.setdefault(name, {}) or {} for name in ("data", "backbone"))
    of_backbone = tree.nearest(["backbone"])
    data["path"] = absolute(str(data.get("path", ".")), tree.nearest(["data", "path"]).origin.folder)
    labels = data.get("labels")
    labels = {"path": labels} if isinstance(labels, str | Path) else labels or {}
    if labels.get("path") is not None:
        folder = tree.nearest(["data", "labels", "path"]).origin.folder
        data["labels"] = {**labels, "path": absolute(str(labels["path"]), folder)}
    if isinstance(backbone, list):
        nodes = [of_backbone.nearest([str(number)]) for number in range(len(backbone))]
        backbone = [_complete_backbone(one or {}, node, values) for one, node in zip(backbone, nodes, strict=True)]
    else:
        backbone = _complete_backbone(backbone, of_backbone, values)
    given = training = values.get("training") or {}
    if (data.get("splits") or {}).get("validation") == 0:
        training = {"early_stopping": None, **training, "best": {"monitor": LAST, **(training.get("best") or {})}}
    config = Config.model_validate({**values, "data": data, "backbone": backbone, "training": training})
    if "activation" not in config.head.model_fields_set:
        head = config.head.model_copy(update={"activation": _activation_for(config)})
        config = config.model_copy(update={"head": head})
    # An empty heading stands for the defaults, except where null switches something off.
    written = [name for name, value in given.items() if value is not None or name == "early_stopping"]
    solver = {"solver": choose_solver(config, written)}
    return config.model_copy(update={"training": config.training.model_copy(update=solver)})


def _complete_backbone(backbone: dict[str, Any], node: Node, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a backbone, written at a node, with absolute paths and the weights that suit the mode."""
    from_scratch = values.get("mode") == "from-scratch"
    if is_model_file(str(backbone.get("name", ""))):
        backbone["name"] = str(absolute(backbone["name"], node.nearest(["name"]).origin.folder))
        if not from_scratch:
            backbone["weights"] = backbone.get("weights") or backbone["name"]
    weights = backbone.get("weights")
    if weights is None and from_scratch:
        backbone["weights"] = "none"
    elif weights is not None and weights not in WEIGHTS_WORDS:
        backbone["weights"] = str(absolute(weights, node.nearest(["weights"]).origin.folder))
    return backbone


def _activation_for(config: Config) -> str:
    """Return the activation of the head that suits labels and loss."""
    if config.data.labels.is_multi_label:
        return "sigmoid"
    return "linear" if LOSSES[config.training.loss].is_of_scores else "softmax"


def absolute(written: str, folder: Path) -> Path:
    """Return the absolute form of a path: `~` is the home folder, and relative paths start at `folder`."""
    path = Path(written)
    if is_remote(path):
        return path
    # `~somebody` without an account here, and text that cannot be a path, are taken literally.
    with suppress(RuntimeError, ValueError):
        path = path.expanduser()
    path = folder / path
    with suppress(RuntimeError, ValueError, OSError):  # circular links
        # `..` after a link is resolved by the file system, not textually.
        return path.resolve() if ".." in path.parts else path.absolute()
    return path.absolute()


def _missing_paths(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for each path of a config that does not exist or is of the wrong kind."""
    data = draft.config.data.path
    if not is_sharded(data):
        yield from _check(draft, "data.path", data, "a folder", "a folder of images, or shards (.tar, .parquet)")
    elif not is_remote(data):
        yield from _missing_shards(draft, data)
    if table := draft.config.data.labels.path:
        suffixes = TABLE_SUFFIXES
        yield from _check(draft, "data.labels.path", table, "a file", f"a table ({', '.join(suffixes)})", suffixes)
    for key, backbone in draft.backbones.items():
        if is_model_file(name := backbone.name):
            expected = "a name of `cnncli backbones`, or a saved model (.keras)"
            yield from _check(draft, f"{key}.name", Path(name), "a file", expected, (MODEL_SUFFIX,))
        weights, expected = backbone.weights, f"imagenet, none or a file ({', '.join(WEIGHTS_SUFFIXES)})"
        if weights not in WEIGHTS_WORDS and weights != name:
            yield from _check(draft, f"{key}.weights", Path(weights), "a file", expected, WEIGHTS_SUFFIXES)


def _missing_shards(draft: Draft, path: Path) -> Iterator[Problem]:
    expected = "shards (.tar, .parquet)"
    try:
        is_there = bool(find_shards(path))
    except (OSError, ValueError) as error:
        yield from draft.problem("config-path-missing", "data.path", reason_of(error), expected)
        return
    if not is_there:
        yield from _check(draft, "data.path", path, "a file", expected, SHARD_SUFFIXES)


def _check(
    draft: Draft, key: str, path: Path, right_kind: str, expected: str, suffixes: tuple[str, ...] = ("",)
) -> Iterator[Problem]:
    try:
        path.stat()
    except (OSError, ValueError) as error:
        is_absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "does not exist" if is_absent else reason_of(error).lower()
        what = f"{reason}: {printable(path)[:MAX_SHOWN]}"
        yield from draft.problem("config-path-missing", key, what, expected, _hint_for_missing(path, key, suffixes))
        return
    kind = "a folder" if path.is_dir() else "a file"
    if kind != right_kind:
        hint = "`cnncli data prepare` unpacks archives of known datasets." if path.suffix == ".zip" else ""
        yield from draft.problem("config-path-wrong-kind", key, kind, expected, hint)
    elif not path.name.lower().endswith(suffixes):
        yield from draft.problem("config-path-wrong-kind", key, "wrong suffix", expected)


def _hint_for_missing(path: Path, key: str, suffixes: tuple[str, ...]) -> str:
    if key == "data.path" and path.name in DATASETS:
        source = " DOWNLOAD" if path.name == "dogs-vs-cats" else ""
        return f"Create it with: cnncli data prepare {path.name}{source} --out {printable(path)}"
    if key.endswith(".weights") and (hint := did_you_mean(path.name, WEIGHTS_WORDS)):
        return hint
    there = next(filter(os.path.isdir, path.parents[-MAX_PARTS:]), None)
    if there == path.parent:
        return names_beside(path, suffixes)
    return f"The path exists up to {printable(there)}." if there else ""
