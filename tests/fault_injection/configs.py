"""Generate and mutate configs: each is valid, or each line of its error states where the problem is and what it is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cnncli.config.reader import load_config, load_resolved
from cnncli.config.writer import dump_config
from cnncli.errors import ConfigError, printable
from tests.fault_injection.json_mutation import mutate_json, one_of
from tests.fault_injection.mutation import Random, mutate

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 10.0
POOL = 60
"""Number of configs drawn by Hypothesis, once per process: drawing one takes longer than reading fifty."""

SNIPPETS = (
    *("&a ", "*a", "<<: *a\n", "!!python/name:os.system ''", "!!binary x", "? ", "- - - ", "\t", "---\n", "...\n"),
    *('"\\UFFFFFFFF"', '"\\ud800"', '"\\0"', "0x" + "f" * 5000, "9" * 5000, ".inf", "-.nan", "1e999", "~", "null"),
    *("1_000", "0o17", "%YAML 1.1\n", "[" * 200, "{" * 200, "|\n", "> \n", "é" * 400, "\u2028", "# ", ": ", "yes"),
    *("2026-01-31", "1:30", "!!float x", "!!int 1.5", "!!bool maybe", "!!str 1", "!!set {a}", "!!map {a: 1}", "''"),
)
KEYS = (
    *("seed", "data.path", "training.epochs", "training.stages.0.name", "training.stages.0.optimizer.learning_rate"),
    *(
        "head.layers.0.dense",
        "head.layers.99999",
        "a" + ".a" * 3000,
        "training.stages." + "9" * 5000,
        "..",
        "",
        " ",
        "é",
    ),
    *("backbone.options.filters.0", "augmentation", "training.optimizer.x", "data.splits.validation", "name.x.y"),
)


def once(work: Path, random: Random) -> None:
    """Check one generated or mutated config."""
    file = work / "config.yaml"
    file.write_bytes(_text(random))
    overrides = [_override(random) for _ in range(int(random.integers(3)))] if random.random() < 0.3 else []
    started = time.monotonic()
    try:
        config = load_config(file, overrides, environment={}, check_paths=bool(random.random() < 0.5))
    except ConfigError as error:
        _check_lines(error, file)
    else:
        _check_copy(config, work)
    assert time.monotonic() - started < TIMEOUT_S


def _check_lines(error: ConfigError, file: Path) -> None:
    """Check that each problem is one line that starts with the location, and has a code and a key."""
    assert error.problems
    assert all("key" in problem.facts for problem in error.problems)
    place = re.compile(rf"{re.escape(printable(file))}(:\d+:\d+)?: \S|override .*: \S", re.DOTALL)
    for line in error.problems:
        assert len(line.splitlines()) == 1, line
        assert place.match(line), line
        assert len(line) < 4000, line


def _check_copy(config: Any, work: Path) -> None:
    """Check that a valid config is unchanged after it is written and read again."""
    copy = work / "copy.yaml"
    copy.write_text(dump_config(config), encoding="utf-8", errors="surrogateescape")
    assert load_resolved(copy) == config


def _text(random: Random) -> bytes:
    document = one_of(random, [*_bundled(), *_generated()])
    if random.random() < 0.7:
        document = mutate_json(document, random)
    text = yaml.safe_dump(document, allow_unicode=bool(random.random() < 0.5), sort_keys=False).encode(
        "utf-8", "replace"
    )
    change: Callable[[bytes, Random], bytes] = one_of(random, (_unchanged, _unchanged, _with_snippet, mutate))
    return change(text, random)


def _unchanged(text: bytes, _: Random) -> bytes:
    return text


def _with_snippet(text: bytes, random: Random) -> bytes:
    """Insert a piece of YAML after a colon, at the beginning of a line, or anywhere."""
    places = [match.end() for match in re.finditer(rb": |^|\n", text)]
    place = one_of(random, places) if random.random() < 0.8 else int(random.integers(len(text) + 1))
    return text[:place] + str(one_of(random, SNIPPETS)).encode("utf-8", "surrogatepass") + text[place:]


def _override(random: Random) -> str:
    return (
        f"{one_of(random, KEYS)}{one_of(random, ('=', '=', '=', '', '=='))}{one_of(random, (*SNIPPETS, '1', '[1, 2]'))}"
    )


@cache
def _bundled() -> tuple[Any, ...]:
    """Return the configs that come with cnncli."""
    found = sorted((ROOT / "configs").rglob("*.yaml"))
    assert found
    return tuple(yaml.safe_load(path.read_text(encoding="utf-8")) for path in found)


@cache
def _generated() -> tuple[Any, ...]:
    """Return configs that the schema allows."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from tests.config.strategies import configs

    found: list[Any] = []

    @settings(
        max_examples=POOL,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(0)
    @given(configs())
    def collect(config: dict[str, Any]) -> None:
        found.append(config)

    collect()
    return tuple(found)
