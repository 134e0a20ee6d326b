"""The index of a tar agrees with Python's own, and everything that is refused is named."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.shards.tar import BLOCK, MAX_HEADER_BYTES, TarFile, read_tar
from tests.shards.writing import write_tar

NAMES = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\:"), min_size=1, max_size=120).filter(
        lambda name: name.strip(".") == name and len(name.encode()) < 250
    ),
    min_size=1,
    max_size=3,
).map("/".join)
FILES = st.lists(st.tuples(NAMES, st.integers(0, 1_500)), max_size=8, unique_by=lambda one: one[0])
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def indexed(path: Path) -> list[TarFile]:
    """Return the files of a tar."""
    with path.open("rb") as file:
        return list(read_tar(file))


def entry(name: str, kind: bytes = tarfile.REGTYPE, **facts: str) -> tarfile.TarInfo:
    """Return an empty member of a type."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.pax_headers = facts
    info.linkname = "target" if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE) else ""
    return info


@given(FILES, FORMATS)
def test_the_index_is_that_of_python(files: list[tuple[str, int]], kind: int) -> None:
    """Names, places and sizes are those that `tarfile` finds, for every format, name and size."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=kind) as archive:
        for name, size in files:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
        archive.addfile(entry("folder", tarfile.DIRTYPE))
    content.seek(0)
    with tarfile.open(fileobj=content) as archive:
        expected = [(one.name, one.offset_data, one.size) for one in archive if one.isreg()]

    assert [(one.name, one.offset, one.size) for one in read_tar(content)] == expected


def test_everything_that_is_not_a_plain_file_is_refused(tmp_path: Path) -> None:
    """Links, devices, pipes, sparse files and names that lead out of the archive are problems, each with its name."""
    members = [
        entry("link", tarfile.SYMTYPE),
        entry("hard", tarfile.LNKTYPE),
        entry("tty", tarfile.CHRTYPE),
        entry("disk", tarfile.BLKTYPE),
        entry("pipe", tarfile.FIFOTYPE),
        entry("holes", **{"GNU.sparse.major": "1"}),
        entry("/etc/passwd"),
        entry("a/../../up.jpg"),
        entry("a//b.jpg"),
        entry("./fine.jpg"),
    ]
    found = indexed(write_tar(tmp_path / "a.tar", members))

    assert [one.name for one in found if one.problem] == [one.name for one in members[:-1]]
    assert [one.name for one in found if not one.problem] == ["fine.jpg"]


@pytest.mark.parametrize("kept", [1, BLOCK - 1, BLOCK, BLOCK + 100, 2 * BLOCK, 3 * BLOCK + 1])
def test_a_truncated_tar_is_a_problem(tmp_path: Path, kept: int) -> None:
    """A tar that is cut off at any byte lists the files before the end, and then the damage."""
    path = write_tar(tmp_path / "a.tar", [("a.jpg", bytes(100)), ("b.jpg", bytes(700))])
    path.write_bytes(path.read_bytes()[:kept])

    *found, last = indexed(path)

    assert last.problem
    assert [one.name for one in found] == ["a.jpg"][: kept >= BLOCK + 100]


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    """A flipped bit in the header of a later file is a problem; `tarfile` would leave out the file and all after it."""
    path = write_tar(tmp_path / "a.tar", [(f"{n}.jpg", bytes(100)) for n in range(4)])
    data = bytearray(path.read_bytes())
    data[2 * BLOCK + 3] ^= 1
    path.write_bytes(data)
    with tarfile.open(path) as archive:
        assert len(archive.getmembers()) == 1

    *found, last = indexed(path)

    assert [one.name for one in found] == ["0.jpg"]
    assert last.problem


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    """An extended header larger than any name is a problem, whatever it contains."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2 * MAX_HEADER_BYTES
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf() + bytes(2 * MAX_HEADER_BYTES + 2 * BLOCK))

    (only,) = indexed(path)

    assert only.problem
    assert only.name == ""


def test_no_file_is_larger_than_the_tar(tmp_path: Path) -> None:
    """A size that the tar does not contain, in the header or an extended one, is a problem."""
    info = tarfile.TarInfo("a.jpg")
    info.size = 2**40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2 * BLOCK))
    write_tar(tmp_path / "b.tar", [entry("b.jpg", size="-5"), entry("c.jpg")], format=tarfile.PAX_FORMAT)

    assert [len(indexed(tmp_path / name)) for name in ("a.tar", "b.tar")] == [1, 1]
    assert all(one.problem for name in ("a.tar", "b.tar") for one in indexed(tmp_path / name))
