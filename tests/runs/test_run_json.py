"""run.json is read and written, and damage is reported."""

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
    """The format number is added."""
    write_facts(tmp_path / "run.json", GOOD)

    assert read_facts(tmp_path / "run.json") == {"format": 1, **GOOD}


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """The message has both formats and the version that wrote the file."""
    write_facts(tmp_path / "run.json", {**GOOD, "format": FORMAT + 1, "cnncli": "9.1"})

    with pytest.raises(RunError) as caught:
        read_facts(tmp_path / "run.json")

    assert caught.value.codes == ("run-newer-format",)
    facts = caught.value.facts
    assert (facts["path"], facts["received"], facts["expected"]) == (tmp_path, FORMAT + 1, FORMAT)
    assert "9.1" in str(caught.value)


def test_an_older_format_is_read(tmp_path: Path) -> None:
    """Files of earlier versions stay readable."""
    write_facts(tmp_path / "run.json", {**GOOD, "format": 0})

    assert read_facts(tmp_path / "run.json")["state"] == "finished"


def test_unknown_facts_are_kept(tmp_path: Path) -> None:
    """A later version may have written them."""
    write_facts(tmp_path / "run.json", {**GOOD, "later": [1, 2]})

    assert read_facts(tmp_path / "run.json")["later"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read (Expecting property name"),
        ("[1]", "has no format number"),
        ("{}", "has no format number"),
        ('{"format": "1"}', "has no format number"),
        (json.dumps({"format": 1, **GOOD, "state": "odd"}), "invalid state 'odd'"),
        (json.dumps({"format": 1, "state": "failed"}), "invalid time of creation None"),
        (json.dumps({"format": 1, **GOOD, "created": 5}), "invalid time of creation 5"),
        (json.dumps({"format": 1, **GOOD, "created": "2026-11-21T12:00:00"}), "time of creation without a time zone"),
        (json.dumps({"format": 1, **GOOD, "name": 7}), "name: not a string"),
        ("\udcff", "cannot be read ("),
    ],
)
def test_damage_is_reported_with_its_reason(tmp_path: Path, text: str, problem: str) -> None:
    """The message is one line, whatever the file holds."""
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(RunError) as caught:
        read_facts(tmp_path / "run.json")

    assert caught.value.codes == ("run-file-damaged",)
    assert caught.value.facts["path"] == tmp_path / "run.json"
    assert str(caught.value.facts["reason"]).startswith(problem)
    assert len(caught.value.problems[0].splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["format", "state", "created"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_document_gives_facts_or_a_run_error(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    """No document raises another exception."""
    path = tmp_path_factory.getbasetemp() / "run.json"
    path.write_text(json.dumps(document))
    try:
        facts = read_facts(path)
    except RunError:
        return
    assert facts["state"] in ("running", "finished", "failed")


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_times_read_back_and_stamps_have_no_colon(moment: datetime) -> None:
    """A time keeps its milliseconds; a stamp is a valid file name on every system."""
    assert abs((datetime.fromisoformat(time_text(moment)) - moment).total_seconds()) < 0.001
    assert datetime.strptime(stamp(moment), "%Y-%m-%dT%H%M%S%z") == moment.replace(microsecond=0)
    assert ":" not in stamp(moment)
