"""Images are moved one by one: nothing is lost, nothing overwritten, and nobody's list of moves is trusted."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cnncli.dataset import move_files as moving
from cnncli.dataset.fix_splits import Move
from cnncli.dataset.move_files import JOURNAL, carry_out, interrupted_moves
from cnncli.dataset.scan import scan
from cnncli.errors import DataError
from tests.images.making import jpeg, write_classes


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two splits of two classes."""
    for k, split in enumerate(("train", "test")):
        write_classes(tmp_path / split, {"cats": 4, "dogs": 4}, first_seed=100 * k)
    return tmp_path


def move_of(root: Path, source: str, target: str) -> Move:
    """A move of a file that is there."""
    return Move(source, target, sha256((root / source).read_bytes()).hexdigest())


def some_moves(root: Path) -> list[Move]:
    """Three of test, one of them into a new folder."""
    targets = ("train/cats/new.0.jpg", "train/cats/new.1.jpg", "train/cats/deep/new.2.jpg")
    return [move_of(root, f"test/cats/cats.{k}.jpg", target) for k, target in enumerate(targets)]


def write_journal(root: Path, *moves: Move, **changes: Any) -> None:
    """As a call that was killed leaves it, with changes."""
    document = {"format": 1, "moves": [asdict(move) for move in moves], **changes}
    (root / JOURNAL).write_text(json.dumps(document))


def contents(root: Path) -> list[bytes]:
    """The bytes of all images, sorted."""
    return sorted(path.read_bytes() for path in root.rglob("*.jpg"))


@pytest.mark.parametrize("killed_at", range(6))
def test_a_call_that_was_killed_is_finished_by_the_next(
    two: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every system call that changes a name; in between, each image is there, and afterwards once."""
    before, calls = contents(two), 0
    moves = some_moves(two)

    def or_kill(function: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > killed_at:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(moving.os, "link", or_kill(os.link))
        patch.setattr(Path, "unlink", or_kill(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            carry_out(two, moves)
    assert set(contents(two)) == set(before)
    assert (two / JOURNAL).exists()
    assert carry_out(two, interrupted_moves(scan(two))) == []
    assert contents(two) == before
    assert all((two / move.target).exists() and not (two / move.source).exists() for move in moves)
    assert not (two / JOURNAL).exists()


def test_a_list_of_which_all_is_done_goes(two: Path) -> None:
    """The call was killed behind its last move."""
    moves = some_moves(two)
    carry_out(two, moves)
    write_journal(two, *moves)
    assert interrupted_moves(scan(two)) == []
    assert not (two / JOURNAL).exists()


def test_nothing_is_overwritten(two: Path) -> None:
    """A file that has appeared at a target stays, and so does the one that would have moved; the others move."""
    moves = some_moves(two)
    (two / moves[1].target).write_bytes(b"mine")
    problems = carry_out(two, moves)
    assert problems == [f"{two}/test/cats/cats.1.jpg: cannot be moved to train/cats/new.1.jpg (File exists)"]
    assert (two / moves[1].target).read_bytes() == b"mine"
    assert (two / moves[1].source).exists()
    assert (two / moves[2].target).exists()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_without_hard_links_it_is_a_rename(two: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """That overwrites nothing either."""

    def no_links(*args: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(moving.os, "link", no_links)
    before, moves = contents(two), some_moves(two)
    (two / "train" / "cats" / "new.1.jpg").write_bytes(b"mine")
    assert len(carry_out(two, moves)) == 1
    assert contents(two) == sorted([*before, b"mine"])


def test_a_image_that_cannot_leave_its_folder_is_not_doubled(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new name goes where the old one has to stay."""
    before, unlink = contents(two), Path.unlink
    (move,) = some_moves(two)[:1]

    def refused(path: Path, *args: Any, **kwargs: Any) -> None:
        if path == two / move.source:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", refused)
    assert carry_out(two, [move]) == [
        f"{two}/test/cats/cats.0.jpg: cannot be moved to train/cats/new.0.jpg (Operation not permitted)"
    ]
    assert contents(two) == before


def test_a_folder_that_cannot_be_written_to_is_one_line(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing has moved."""

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = contents(two)
    monkeypatch.setattr(moving, "write_atomically", full)
    with pytest.raises(DataError) as error:
        carry_out(two, some_moves(two))
    assert str(error.value) == f"{two}: nothing can be moved in it (No space left on device)"
    assert contents(two) == before


def test_files_that_have_changed_since_are_not_moved(two: Path) -> None:
    """The list speaks of other images."""
    moves = some_moves(two)
    (two / moves[0].source).write_bytes(jpeg(555))
    write_journal(two, *moves)
    assert interrupted_moves(scan(two)) == moves[1:]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("../outside.jpg", "train/cats/a.jpg"),
        ("test/cats/cats.0.jpg", "../outside.jpg"),
        ("test/cats/cats.0.jpg", "train/../../outside.jpg"),
        ("test/cats/cats.0.jpg", "/outside.jpg"),
        ("test/cats/cats.0.jpg", "elsewhere/cats/a.jpg"),
        ("test/cats/cats.0.jpg", "train/a.jpg"),
        ("test/cats/cats.0.jpg", "train/linked/a.jpg"),
        ("test/cats/cats.0.jpg", "train/cats/a\0.jpg"),
    ],
)
def test_a_list_that_leads_elsewhere_is_refused(two: Path, source: str, target: str) -> None:
    """Folders of images come from anywhere; no list in them moves files out of them, or into them."""
    (two / "train" / "linked").symlink_to(two.parent)
    write_journal(two, Move(source, target, "0" * 64))
    with pytest.raises(DataError) as error:
        interrupted_moves(scan(two))
    assert str(error.value) == (
        f"{two / JOURNAL}: is no list of moves that `data check --fix-splits` left; look at it and delete it"
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"format": 2, "moves": []}', '{"format": 1, "moves": [{"source": "a"}]}', "[" * 100_000],
)
def test_a_file_that_is_no_list_is_refused(two: Path, text: str) -> None:
    """Whatever it holds."""
    (two / JOURNAL).write_text(text)
    with pytest.raises(DataError, match="is no list of moves"):
        interrupted_moves(scan(two))


def test_a_pipe_in_the_place_of_the_list_is_refused_at_once(two: Path) -> None:
    """Whoever opened it would wait until somebody writes into it."""
    os.mkfifo(two / JOURNAL)
    with pytest.raises(DataError) as error:
        interrupted_moves(scan(two))
    assert str(error.value) == f"{two / JOURNAL}: cannot be read (not a regular file)"


def test_no_list_no_moves(two: Path) -> None:
    """The usual case."""
    assert interrupted_moves(scan(two)) == []


def test_two_calls_at_once_lose_nothing(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one takes this one for interrupted, and ends the old name in between."""
    before, link = contents(two), os.link

    def link_and_be_helped(source: Path, target: Path) -> None:
        link(source, target)
        source.unlink()

    monkeypatch.setattr(moving.os, "link", link_and_be_helped)
    assert carry_out(two, some_moves(two)) == []
    assert contents(two) == before
