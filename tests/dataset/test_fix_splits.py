"""Which images move so that no group lies in two splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cnncli.dataset.build import scan_folder
from cnncli.dataset.fix_splits import Plan, plan_moves
from cnncli.dataset.inventory import verified
from cnncli.dataset.move_files import carry_out
from cnncli.dataset.scan import scan
from tests.images.making import drawn_image, encoded, jpeg, write_classes, write_tree

LARGE = drawn_image(96, 128, seed=999)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three splits of two classes, the second called val."""
    for k, (split, n) in enumerate({"train": 8, "val": 4, "test": 4}.items()):
        write_classes(tmp_path / split, {"cats": n, "dogs": n}, first_seed=100 * k)
    return tmp_path


def plan(root: Path) -> Plan:
    """The moves for a folder."""
    found = scan(root)
    return plan_moves(found, [one for one in verified(found, found.candidates) if one.problem is None])


def moves(root: Path) -> list[tuple[str, str]]:
    """Where from and where to."""
    return [(move.source, move.target) for move in plan(root).moves]


def test_nothing_moves_where_nothing_lies_in_two_splits(three: Path) -> None:
    """Copies within a split stay where they are."""
    write_tree(three, {"train/cats/again.jpg": jpeg(0, 12, 16)})
    assert plan(three) == Plan((), ())


def test_a_group_goes_to_the_first_of_its_splits(three: Path) -> None:
    """Equal ones and those that look alike; folders keep their names, and what is below a class stays below it."""
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


def test_names_that_are_taken_get_a_number(three: Path) -> None:
    """By files that lie there, and by images that move there; in any case of letters."""
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
    """What would leave too little goes the other way: the training set gives, within the same limit."""
    for k in range(4):
        write_tree(three, {f"test/cats/cats.{k}.jpg": jpeg(k, 12, 16)})
    found = moves(three)
    assert found[:2] == [(f"test/cats/cats.{k}.jpg", f"train/cats/cats.{k}-2.jpg") for k in range(2)]
    assert found[2:] == [(f"train/cats/cats.{k}.jpg", f"test/cats/cats.{k}-2.jpg") for k in (2, 3)]


def test_what_may_go_neither_way_stays_and_is_told(tmp_path: Path) -> None:
    """Two splits with the same few images."""
    for split in ("train", "test"):
        write_classes(tmp_path / split, {"cats": 1, "dogs": 12})
    found = plan(tmp_path)
    assert found.left[0] == (
        f"{tmp_path}/train/cats/cats.0.jpg and {tmp_path}/test/cats/cats.0.jpg: in train and test, left there:"
        " test would lose more than half of its class cats"
    )
    assert len(found.left) == 1
    assert Counter(move.target.split("/")[0] for move in found.moves) == {"train": 6, "test": 6}


def test_what_lies_behind_links_stays(three: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link to an image, a folder of images elsewhere: whose they are is not known."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_tree(elsewhere, {"a.jpg": jpeg(0, 12, 16), "b.jpg": jpeg(1, 12, 16)})
    (three / "test" / "cats" / "link.jpg").symlink_to(elsewhere / "a.jpg")
    (three / "test" / "cats" / "linked").symlink_to(elsewhere)
    found = plan(three)
    assert [(move.source, move.target) for move in found.moves] == [
        ("train/cats/cats.0.jpg", "test/cats/cats.0-2.jpg"),
        ("train/cats/cats.1.jpg", "test/cats/cats.1-2.jpg"),
    ]
    (three / "test" / "cats").rename(elsewhere / "cats")
    (three / "test" / "cats").symlink_to(elsewhere / "cats")
    found = plan(three)
    assert found.moves == ()
    assert [line.rpartition(": ")[2] for line in found.left] == [
        f"{three}/test/cats/link.jpg lies behind a link",
        f"{three}/test/cats/linked/b.jpg lies behind a link",
    ]


def test_a_group_under_two_labels_is_left_to_people(three: Path) -> None:
    """Moved together, equal ones would be one image of two classes, and alike ones would be found by nobody."""
    write_tree(
        three,
        {
            "test/dogs/copy.jpg": jpeg(0, 12, 16),
            "test/dogs/large.png": encoded(LARGE),
            "train/cats/large.jpg": encoded(LARGE, "JPEG", quality=70),
        },
    )
    planned = plan(three)

    assert planned.moves == ()
    assert len(planned.left) == 2
    assert all(
        line.endswith(": in train and test, left there: which is right, cats and dogs?") for line in planned.left
    )


def test_after_the_moves_nothing_is_left_to_do(three: Path) -> None:
    """And no image is lost: the same bytes as before, as often as before."""
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
    assert carry_out(three, plan(three).moves) == []
    assert Counter(path.read_bytes() for path in three.rglob("*.*") if path.is_file()) == before
    assert plan(three) == Plan((), ())
    facts = scan_folder(three)
    assert (facts.problems, facts.near_duplicates) == ((), ())
