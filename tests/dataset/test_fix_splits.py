"""Moving identical and similar images into one split, without losing or overwriting any file."""

from __future__ import annotations

import errno
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.dataset import fix_splits
from cnncli.dataset.build import report_on_data
from cnncli.dataset.fix_splits import Move, carry_out, plan_moves
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree

LARGE = drawn_image(96, 128, seed=999)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return a folder with the splits train, val and test, each with two classes."""
    for k, (split, n) in enumerate({"train": 8, "val": 4, "test": 4}.items()):
        write_classes(tmp_path / split, {"cats": n, "dogs": n}, first_seed=100 * k)
    return tmp_path


def moves(root: Path) -> list[tuple[str, str]]:
    """Return the planned moves as pairs of relative paths."""
    return [(str(one.source.relative_to(root)), str(one.target.relative_to(root))) for one in plan_moves(root)[0]]


def test_nothing_moves_if_no_image_is_in_two_splits(three: Path) -> None:
    """Identical images within one split are not moved."""
    write_tree(three, {"train/cats/again.jpg": jpeg(0, 12, 16)})
    assert plan_moves(three) == ([], [])


def test_a_group_goes_to_the_first_of_its_splits(three: Path) -> None:
    """Groups move to the first of their splits; folders keep their names, and images keep their subfolders."""
    write_tree(
        three,
        {
            "val/cats/copy.jpg": jpeg(0, 12, 16),
            "test/cats/sub/copy.jpg": jpeg(0, 12, 16),
            "val/dogs/large.png": encoded(LARGE),
            "test/dogs/small.jpg": encoded(LARGE.resize((64, 48)), "JPEG"),
        },
    )
    assert moves(three) == [
        ("val/cats/copy.jpg", "train/cats/copy.jpg"),
        ("test/cats/sub/copy.jpg", "train/cats/sub/copy.jpg"),
        ("test/dogs/small.jpg", "val/dogs/small.jpg"),
    ]


def test_names_that_are_taken_are_numbered(three: Path) -> None:
    """An image whose name is taken at the target is numbered; names that differ only in case count as taken."""
    write_tree(
        three,
        {
            "val/cats/cats.0.jpg": jpeg(0, 12, 16),
            "test/cats/CATS.0-2.jpg": jpeg(0, 12, 16),
            "test/dogs/dogs.0.jpg": jpeg(9, 12, 16),
        },
    )
    (three / "train" / "dogs" / "dogs.0-2.jpg").symlink_to("nowhere")
    assert moves(three) == [
        ("val/cats/cats.0.jpg", "train/cats/cats.0-2.jpg"),
        ("test/cats/CATS.0-2.jpg", "train/cats/CATS.0-2-2.jpg"),
        ("test/dogs/dogs.0.jpg", "train/dogs/dogs.0-3.jpg"),
    ]


def test_no_class_of_a_split_loses_more_than_half(three: Path) -> None:
    """If moving all groups to train would remove more than half of a class from test, later groups move to test."""
    for k in range(4):
        write_tree(three, {f"test/cats/cats.{k}.jpg": jpeg(k, 12, 16)})
    found = moves(three)
    assert found[:2] == [(f"test/cats/cats.{k}.jpg", f"train/cats/cats.{k}-2.jpg") for k in range(2)]
    assert found[2:] == [(f"train/cats/cats.{k}.jpg", f"test/cats/cats.{k}-2.jpg") for k in (2, 3)]


def test_groups_that_cannot_move_are_reported(tmp_path: Path) -> None:
    """A group is reported instead of moved if a split would lose more than half of a class."""
    for split in ("train", "test"):
        write_classes(tmp_path / split, {"cats": 1, "dogs": 12})
    planned, (message,) = plan_moves(tmp_path)
    paths = tuple(tmp_path / split / "cats" / "cats.0.jpg" for split in ("train", "test"))
    assert (message.code, message.facts["paths"]) == ("data-fix-left", paths)
    assert Counter(move.target.relative_to(tmp_path).parts[0] for move in planned) == {"train": 6, "test": 6}


def test_images_behind_links_are_not_moved(three: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Images reached through links are not moved, because their files may not belong to the dataset."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_tree(elsewhere, {"a.jpg": jpeg(0, 12, 16), "b.jpg": jpeg(1, 12, 16)})
    (three / "test" / "cats" / "link.jpg").symlink_to(elsewhere / "a.jpg")
    (three / "test" / "cats" / "linked").symlink_to(elsewhere)
    assert moves(three) == [
        ("train/cats/cats.0.jpg", "test/cats/cats.0-2.jpg"),
        ("train/cats/cats.1.jpg", "test/cats/cats.1-2.jpg"),
    ]
    (three / "test" / "cats").rename(elsewhere / "cats")
    (three / "test" / "cats").symlink_to(elsewhere / "cats")
    planned, left = plan_moves(three)
    assert planned == []
    assert [message.code for message in left] == ["data-fix-left"] * 2


def test_a_group_with_two_labels_is_not_moved(three: Path) -> None:
    """Groups with two labels are reported instead of moved, because moving would hide the contradiction."""
    write_tree(
        three,
        {
            "test/dogs/copy.jpg": jpeg(0, 12, 16),
            "test/dogs/large.png": encoded(LARGE),
            "train/cats/large.jpg": encoded(LARGE, "JPEG", quality=70),
        },
    )
    planned, left = plan_moves(three)

    assert planned == []
    assert [message.code for message in left] == ["data-fix-left"] * 2
    assert left[0].facts["labels"] == ("cats", "dogs")


def test_moves_lose_no_image_and_leave_nothing_to_move(three: Path) -> None:
    """After the moves, all files still exist with the same contents, and no further moves are planned."""
    write_tree(
        three,
        {
            "val/cats/copy.jpg": jpeg(0, 12, 16),
            "test/cats/copy.jpg": jpeg(0, 12, 16),
            "test/cats/large.png": encoded(LARGE),
            "train/cats/large.jpg": encoded(LARGE, "JPEG", quality=70),
        },
    )
    before = Counter(path.read_bytes() for path in three.rglob("*.*") if path.is_file())
    assert carry_out(plan_moves(three)[0]) == []
    assert Counter(path.read_bytes() for path in three.rglob("*.*") if path.is_file()) == before
    assert plan_moves(three) == ([], [])
    report, _ = report_on_data(DataConfig(path=three))
    assert (report["ok"], report["near_duplicates"]) == (True, [])


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a folder with two splits that share four images."""
    write_classes(tmp_path / "train", {"cats": 9, "dogs": 9})
    write_classes(tmp_path / "test", {"cats": 9, "dogs": 9}, first_seed=100)
    return write_tree(tmp_path, {f"test/cats/copy {k}.jpg": jpeg(k, 12, 16) for k in range(4)})


def contents(root: Path) -> list[bytes]:
    """Return the bytes of all images, sorted."""
    return sorted(path.read_bytes() for path in root.rglob("*.jpg"))


@pytest.mark.parametrize("killed_at", range(8))
def test_a_killed_call_is_finished_by_the_next(two: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process is killed at any file operation, no image is lost, and the next call completes the moves."""
    before, calls = contents(two), 0

    def or_kill(function: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > killed_at:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(fix_splits.os, "link", or_kill(os.link))
        patch.setattr(Path, "unlink", or_kill(Path.unlink))
        with suppress(KeyboardInterrupt):
            carry_out(plan_moves(two)[0])
    assert set(contents(two)) == set(before)
    assert carry_out(plan_moves(two)[0]) == []
    assert contents(two) == before
    assert plan_moves(two) == ([], [])


def test_nothing_is_overwritten(two: Path) -> None:
    """If a file has appeared at a target, neither it nor the image to be moved changes; the other images move."""
    moves = plan_moves(two)[0]
    moves[1].target.write_bytes(b"mine")
    (problem,) = carry_out(moves)
    assert (problem.code, problem.facts["path"]) == ("data-fix-move-failed", moves[1].source)
    assert moves[1].target.read_bytes() == b"mine"
    assert moves[1].source.exists()
    assert moves[2].target.exists()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_without_hard_links_images_are_renamed(two: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems without hard links, images are renamed without overwriting existing files."""

    def no_links(*args: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fix_splits.os, "link", no_links)
    before, moves = contents(two), plan_moves(two)[0]
    moves[1].target.write_bytes(b"mine")
    assert len(carry_out(moves)) == 1
    assert contents(two) == sorted([*before, b"mine"])


def test_an_image_that_cannot_leave_its_folder_is_not_copied(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the old name of an image cannot be removed, its new name is removed, so that no copy remains."""
    before, unlink = contents(two), Path.unlink
    move = plan_moves(two)[0][0]

    def refused(path: Path, *args: Any, **kwargs: Any) -> None:
        if path == move.source:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", refused)
    assert [problem.code for problem in carry_out([move])] == ["data-fix-move-failed"]
    assert contents(two) == before


def test_two_calls_at_once_lose_nothing(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No image is lost if another process removes the old name after the new one was linked."""
    before, link = contents(two), os.link

    def link_and_be_helped(source: Path, target: Path) -> None:
        link(source, target)
        source.unlink()

    monkeypatch.setattr(fix_splits.os, "link", link_and_be_helped)
    assert carry_out(plan_moves(two)[0]) == []
    assert contents(two) == before


def test_an_image_that_no_longer_exists_is_not_a_problem(two: Path) -> None:
    """An image that no longer exists, because another call has moved it, is not reported as a problem."""
    assert carry_out([Move(two / "test" / "cats" / "gone.jpg", two / "train" / "cats" / "gone.jpg")]) == []
