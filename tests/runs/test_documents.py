"""run.json can be read, damage is reported, and times have one format."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.errors import RunError
from cnncli.runs.documents import stamp, time_text
from cnncli.runs.folder import FORMAT, STATES, RunFolder

GOOD = {"format": 1, "state": "finished", "created": "2026-11-21T12:00:00.000Z"}


def _read(folder: Path, document: object) -> dict[str, Any]:
    (folder / "run.json").write_text(json.dumps(document))
    return RunFolder(folder).read_facts()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """The error states both formats."""
    with pytest.raises(RunError) as caught:
        _read(tmp_path, {**GOOD, "format": FORMAT + 1})

    assert caught.value.codes == ("run-newer-format",)
    facts = caught.value.facts
    assert (facts["path"], facts["received"], facts["expected"]) == (tmp_path / "run.json", FORMAT + 1, FORMAT)


@pytest.mark.parametrize("other", [{"format": 0}, {"later": [1, 2]}])
def test_an_older_format_and_unknown_facts_are_read(tmp_path: Path, other: dict[str, Any]) -> None:
    """Files of earlier versions, and unknown facts of later versions, can be read."""
    document = {**GOOD, **other}

    assert _read(tmp_path, document) == document


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "{}",
        '{"format": "1"}',
        '{"format": 1, "state": "failed"}',
        *(
            json.dumps({**GOOD, **wrong})
            for wrong in (
                {"state": "odd"},
                {"created": 5},
                {"created": "2026-11-21T12:00:00"},
                {"name": 7},
                {"seconds": math.nan},
            )
        ),
        "\udcff",
    ],
)
def test_damage_is_an_error_with_its_reason(tmp_path: Path, text: str) -> None:
    """The error is one line, whatever the file contains."""
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(RunError) as caught:
        RunFolder(tmp_path).read_facts()

    assert caught.value.codes == ("run-file-damaged",)
    assert caught.value.facts["path"] == tmp_path / "run.json"
    assert caught.value.facts["reason"]
    assert len(caught.value.problems[0].splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["format", "state", "created"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_document_gives_facts_or_a_run_error(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    """No document raises an exception other than RunError."""
    try:
        facts = _read(tmp_path_factory.getbasetemp(), document)
    except RunError:
        return
    assert facts["state"] in STATES


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_times_read_back_and_stamps_have_no_colon(moment: datetime) -> None:
    """Times round-trip to the millisecond, and a timestamp is a valid file name on every system."""
    assert abs((datetime.fromisoformat(time_text(moment)) - moment).total_seconds()) < 0.001
    assert datetime.strptime(stamp(moment), "%Y-%m-%dT%H%M%S%z") == moment.replace(microsecond=0)
    assert ":" not in stamp(moment)
