"""The page "The course": all rows, each with a command that can be typed, and a count that is true."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import click
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.cli.summary import _sources
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.config.search import read_axis
from cnncli.errors import CnncliError
from cnncli.recipes.summary import summarize
from tests.support.commands import command_lines, parse

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "course.md"
N_ROWS, N_ERRATA = 224, 35
OUT_OF_SCOPE = {26, 46, 47, 167}
READING = {120, 140, 224}


def rows() -> dict[int, str]:
    """Return the last cell of each row by its number."""
    return {int(number): how for number, how in re.findall(r"^\| (\d+) \| .* \| (.*) \|$", PAGE.read_text(), re.M)}


def commands_of(how: str) -> list[str]:
    """Return the commands of a cell."""
    return re.findall(r"`(cnncli [^`]*)`", how.replace("\\|", "|"))


def problem_with(command: str) -> str | None:
    """Return what is wrong with a command: its syntax, or the settings of the config that it names."""
    try:
        (words,) = command_lines(command)
        parse(words)
    except (click.UsageError, ValueError) as error:
        return str(error)
    configs = [word for word in words if word.endswith(".yaml")]
    if missing := [name for name in configs if not (ROOT / name).is_file()]:
        return f"no such config: {missing}"
    settings = [word for word in words[1:] if re.match(r"[a-z_.0-9]+=", word)]
    if words[0] == "sweep":
        settings = [f"{axis.key}={axis.values[-1]}" for axis in map(read_axis, settings)]
    try:
        if configs and words[0] in ("train", "sweep", "summary", "augment"):
            load_config(ROOT / configs[0], settings, environment={}, check_paths=False)
        elif words[0] == "summary":
            for network in [word for word in words[1:] if word in NETWORKS]:
                mapping = {"data": {"path": "."}, "backbone": {"name": network, "weights": "none"}}
                config_from_mapping(mapping, settings, environment={}, check_paths=False)
            if unknown := [word for word in words[1:] if re.fullmatch(r"[A-Z]\w+", word) and word not in NETWORKS]:
                return f"no such network: {unknown}"
    except CnncliError as error:
        return str(error)
    return None


def state_of(how: str) -> str:
    """Return whether a row is shown (yes), planned, out of scope or for reading."""
    for word, state in (("out of scope", "out"), ("planned", "planned"), ("reading only", "reading")):
        if how.startswith(word):
            return state
    return "yes"


def test_the_page_has_every_row_once() -> None:
    """Rows 1 to 224 are on the page once, and so are the 35 errata."""
    text = PAGE.read_text()

    assert sorted(map(int, re.findall(r"^\| (\d+) \|", text, re.M))) == list(range(1, N_ROWS + 1))
    assert re.findall(r"^\| W(\d+) \|", text, re.M) == [str(number) for number in range(1, N_ERRATA + 1)]


def test_rows_without_a_command_say_why() -> None:
    """Out of scope are exactly the rows that the project excludes, with a reason; three rows are for reading."""
    states = {number: state_of(how) for number, how in rows().items()}

    assert {number for number, state in states.items() if state == "out"} == OUT_OF_SCOPE
    assert all("because" in rows()[number] for number in OUT_OF_SCOPE)
    assert {number for number, state in states.items() if state == "reading"} == READING


@pytest.mark.parametrize("number", range(1, N_ROWS + 1))
def test_the_commands_of_a_row_can_be_typed(number: int) -> None:
    """Each command of a row is accepted by cnncli, and its config exists and is valid with its settings."""
    how = rows()[number]
    commands = commands_of(how)

    assert commands or state_of(how) != "yes"
    assert [problem for problem in map(problem_with, commands) if problem] == []


HEADERS = "\n".join(path.read_text() for path in sorted((ROOT / "configs" / "course").glob("*.yaml")))
COMMANDS = command_lines("\n".join(command for how in rows().values() for command in commands_of(how)) + "\n" + HEADERS)
NAMES = set(
    re.findall(r"^name: (.+)$", "\n".join(path.read_text() for path in (ROOT / "configs").rglob("*.yaml")), re.M)
)
NAMES |= {word.removeprefix("name=") for words in COMMANDS for word in words if word.startswith("name=")}
WITH_RUNS = ("compare", "embed", "evaluate", "explain", "report", "show")
SUMMARIES = sorted({tuple(words) for words in COMMANDS if words[0] == "summary"})


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] in WITH_RUNS], ids=" ".join)
def test_the_runs_of_a_command_can_be_trained(words: list[str]) -> None:
    """Each run that a command names is one that a config, or a command with another name for it, makes."""
    given = parse(list(words)).params
    runs = [given.get("run"), *(given.get("runs") or ())]

    assert {str(run) for run in runs if run} <= NAMES


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, marks=[] if any(".yaml" in word for word in words) else pytest.mark.slow)
        for words in SUMMARIES
    ],
    ids=" ".join,
)
def test_each_summary_of_the_page_and_the_exercises_can_be_built(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks and configs of each summary are built at their image sizes, before their datasets are there."""
    monkeypatch.chdir(ROOT)
    given = parse(list(words)).params
    summaries = [summarize(source, settings, top=given["top"]) for source, settings in _sources(given["words"])]

    assert all(summary.multiply_adds_with_pooling > 0 for summary in summaries)


def test_the_count_on_the_page_is_true() -> None:
    """The first lines of the page count the rows that are shown, planned and out of scope."""
    counts = Counter(map(state_of, rows().values()))
    claimed = re.search(
        r"(\d+) of 224 rows; (\d+) (?:is|are) planned, (\d+) are out of scope,\s+and (\d+) are for reading",
        PAGE.read_text(),
    )

    assert claimed
    assert tuple(map(int, claimed.groups())) == tuple(counts[state] for state in ("yes", "planned", "out", "reading"))
