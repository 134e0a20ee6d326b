"""run.json: formats, damage, times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.errors import RunError
from cnncli.runs.run_json import FORMAT, read_facts, stamp, time_text, write_facts

GOOD = {"state": "finished", "created": "2026-11-21T12:00:00.000Z"}


def test_facts_read_back_as_written(tmp_path: Path) -> None:
    """What goes in comes out, with the format."""
    write_facts(tmp_path / "run.json", GOOD)

    assert read_facts(tmp_path / "run.json") == {"format": 1, **GOOD}


def test_a_newer_format_is_refused_in_one_line(tmp_path: Path) -> None:
    """The line names both formats and the remedy."""
    write_facts(tmp_path / "run.json", {**GOOD, "format": FORMAT + 1, "cnncli": "9.1"})

    with pytest.raises(RunError) as caught:
        read_facts(tmp_path / "run.json")

    assert caught.value.problems == (
        f"{tmp_path}: written in format 2 by cnncli 9.1; this one reads up to format 1: update cnncli",
    )


def test_an_older_format_is_read(tmp_path: Path) -> None:
    """Whatever a former version wrote stays readable."""
    write_facts(tmp_path / "run.json", {**GOOD, "format": 0})

    assert read_facts(tmp_path / "run.json")["state"] == "finished"


def test_facts_that_later_versions_add_are_kept(tmp_path: Path) -> None:
    """An unknown fact is no error."""
    write_facts(tmp_path / "run.json", {**GOOD, "later": [1, 2]})

    assert read_facts(tmp_path / "run.json")["later"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "run.json cannot be read (Expecting property name"),
        ("[1]", "run.json is damaged: it names no format"),
        ("{}", "run.json is damaged: it names no format"),
        ('{"format": "1"}', "run.json is damaged: it names no format"),
        (
            json.dumps({"format": 1, **GOOD, "state": "odd"}),
            "run.json is damaged: its state is 'odd', which is none of",
        ),
        (json.dumps({"format": 1, "state": "failed"}), "run.json is damaged: its time of creation is None"),
        (json.dumps({"format": 1, **GOOD, "created": 5}), "run.json is damaged: its time of creation is 5"),
        (
            json.dumps({"format": 1, **GOOD, "created": "2026-11-21T12:00:00"}),
            "run.json is damaged: its time of creation",
        ),
        ("\udcff", "run.json cannot be read ("),
    ],
)
def test_damage_is_one_line_that_names_the_run(tmp_path: Path, text: str, problem: str) -> None:
    """Any content gives facts or a RunError, never another exception."""
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(RunError) as caught:
        read_facts(tmp_path / "run.json")

    assert caught.value.problems[0].startswith(f"{tmp_path}: {problem}")
    assert len(caught.value.problems[0].splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["format", "state", "created"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_document_is_facts_or_a_run_error(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    """No document, however odd, crashes the reader."""
    path = tmp_path_factory.getbasetemp() / "run.json"
    path.write_text(json.dumps(document))
    try:
        facts = read_facts(path)
    except RunError:
        return
    assert facts["state"] in ("running", "finished", "failed")


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_times_read_back_and_stamps_have_no_colon(moment: datetime) -> None:
    """A time survives to the millisecond; a stamp is a file name on every system."""
    assert abs((datetime.fromisoformat(time_text(moment)) - moment).total_seconds()) < 0.001
    assert datetime.strptime(stamp(moment), "%Y-%m-%dT%H%M%S%z") == moment.replace(microsecond=0)
    assert ":" not in stamp(moment)
