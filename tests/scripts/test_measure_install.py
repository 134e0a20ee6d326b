"""Sizes of what the extras add."""

from __future__ import annotations

from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement

from scripts.measure_install import Row, closure, import_seconds, size_bytes, table


def test_a_package_needs_what_its_packages_need() -> None:
    """The packages of a set are those that it names, and all that these need."""
    found = closure([Requirement("rich")])
    assert {"rich", "pygments", "markdown-it-py", "mdurl"} <= found
    assert closure([Requirement("PyYAML")]) == {"pyyaml"}


def test_the_size_is_that_of_the_files() -> None:
    """The size of a package is the sum of the sizes in its record, without compiled bytecode."""
    files = distribution("click").files or []
    recorded = sum(file.size or 0 for file in files if file.suffix != ".pyc")
    assert size_bytes("click") == pytest.approx(recorded, rel=0.1)


def test_an_import_is_timed() -> None:
    """The time is the processor time of the code alone, so waiting does not count."""
    assert import_seconds("sum(range(10_000_000))") > 10 * import_seconds("time.sleep(0.3)")


def test_the_table_has_a_line_for_each_set() -> None:
    """A row has name, number of packages, megabytes and times."""
    assert table([Row("int8", 7, 13_400_000, {"nncf": 0.5})]).splitlines()[2] == "| int8 | 7 | 13 MB | nncf 0.50 s |"
