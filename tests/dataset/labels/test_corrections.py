"""The table of corrections keeps decisions, and is a table of labels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cnncli.config.data_settings import DataConfig
from cnncli.config.reader import config_from_mapping
from cnncli.dataset.labels.corrections import Corrections
from cnncli.dataset.labels.source import read_labels
from cnncli.dataset.records import ImageRecord
from cnncli.errors import DataError
from cnncli.images.verify import ImageFacts
from tests.images.making import jpeg


@pytest.fixture
def rows(tmp_path: Path) -> list[ImageRecord]:
    """Return the records of six images in two splits, with a comma and quotes in one name."""
    names = ["a.jpg", 'b, "c".jpg', "d.jpg", "e.jpg", "f.jpg", "g.jpg"]
    rows = []
    for number, name in enumerate(names):
        content = jpeg(number)
        (tmp_path / name).write_bytes(content)
        split, label = "train" if number < 4 else "test", "cats" if number % 2 else "dogs"
        facts = ImageFacts(hashlib.sha256(content).hexdigest(), len(content))
        rows.append(ImageRecord(str(tmp_path / name), (label,), split, facts))
    return rows


def _decided(rows: list[ImageRecord], path: Path) -> Corrections:
    corrections = Corrections(path, rows, is_multi_label=False)
    corrections.labels = {rows[0].file: ("cats",), rows[1].file: rows[1].labels, rows[2].file: None}
    return corrections


def test_decisions_are_named_and_counted(rows: list[ImageRecord], tmp_path: Path) -> None:
    """An image can be corrected, confirmed, excluded, or not decided yet."""
    corrections = _decided(rows, tmp_path / "corrections.csv")

    assert [corrections.decision(row) for row in rows[:4]] == ["corrected", "confirmed", "excluded", None]
    assert corrections.counts() == {"confirmed": 1, "corrected": 1, "excluded": 1}


def test_decisions_are_read_again(rows: list[ImageRecord], tmp_path: Path) -> None:
    """A later review starts with the decisions of the earlier one."""
    corrections = _decided(rows, tmp_path / "corrections.csv")
    corrections.save()
    again = Corrections(corrections.path, rows, is_multi_label=False)
    again.load()

    assert again.labels == corrections.labels


def test_images_that_the_table_does_not_know_are_undecided(rows: list[ImageRecord], tmp_path: Path) -> None:
    """For a run with two more images, the table of an earlier run excludes only the image that was excluded."""
    corrections = _decided(rows[:4], tmp_path / "corrections.csv")
    corrections.save()
    later = Corrections(corrections.path, rows, is_multi_label=False)
    later.load()
    later.save()

    assert later.labels == corrections.labels
    assert later.counts()["excluded"] == 1


def test_decisions_about_images_of_another_run_are_kept(rows: list[ImageRecord], tmp_path: Path) -> None:
    """A run that was trained without the image that was left out does not bring it back, nor drop other decisions."""
    first = _decided(rows, tmp_path / "corrections.csv")
    first.save()
    left_out = [row for row in rows if first.decision(row) == "excluded"]
    second = Corrections(first.path, [row for row in rows[1:] if row not in left_out], is_multi_label=False)
    second.load()
    second.save()
    last = Corrections(first.path, rows, is_multi_label=False)
    last.load()

    assert left_out
    assert last.labels == first.labels


def test_two_reviews_at_a_time_keep_the_decisions_of_both(rows: list[ImageRecord], tmp_path: Path) -> None:
    """What another page has saved in the meantime is merged, also where it was undone; one's own change wins."""
    first = _decided(rows, tmp_path / "corrections.csv")
    first.save()
    second = Corrections(first.path, rows, is_multi_label=False)
    second.load()
    first.labels |= {rows[3].file: None, rows[4].file: ("cats",)}
    del first.labels[rows[0].file]
    first.save()
    second.labels |= {rows[5].file: ("dogs",), rows[4].file: None}
    second.save()
    last = Corrections(first.path, rows, is_multi_label=False)
    last.load()

    expected = {1: rows[1].labels, 2: None, 3: None, 4: None, 5: ("dogs",)}
    assert last.labels == second.labels == {rows[n].file: labels for n, labels in expected.items()}


def test_data_labels_reads_the_table(rows: list[ImageRecord], tmp_path: Path) -> None:
    """As a label source, the table gives the corrected labels and the splits, without the excluded image."""
    corrections = _decided(rows, tmp_path / "corrections.csv")
    corrections.save()
    config = config_from_mapping({"data": {"path": str(tmp_path)}}, [corrections.setting], environment={})
    found = {one.file: (one.labels, one.split) for one in read_labels(config.data).records}

    assert found[rows[0].file] == (("cats",), "train")
    assert rows[2].file not in found
    assert all(found[row.file] == (row.labels, row.split) for row in (rows[1], *rows[3:]))


def test_several_labels_make_a_round_trip(rows: list[ImageRecord], tmp_path: Path) -> None:
    """Several labels, or none, of an image are read again by `data.labels`."""
    corrections = Corrections(tmp_path / "odd: name.csv", rows, is_multi_label=True)
    corrections.labels = {rows[0].file: ("cats", "dogs"), rows[1].file: ()}
    corrections.save()
    config = config_from_mapping({"data": {"path": str(tmp_path)}}, [corrections.setting], environment={})
    found = {one.file: one.labels for one in read_labels(config.data).records}

    assert found[rows[0].file] == ("cats", "dogs")
    assert found[rows[1].file] == ()


def test_groups_of_a_column_are_kept(rows: list[ImageRecord], tmp_path: Path) -> None:
    """If groups come from a column of a table, the table of corrections has this column."""
    rows = [replace(row, group=f"patient {number // 2}") for number, row in enumerate(rows)]
    corrections = Corrections(tmp_path / "corrections.csv", rows, False, "patient")
    corrections.save()
    data = DataConfig.model_validate(
        {"path": tmp_path, "labels": {"path": corrections.path}, "groups": {"column": "patient"}}
    )

    assert {one.file: one.group for one in read_labels(data).records} == {row.file: row.group for row in rows}


def test_a_damaged_table_is_an_error(rows: list[ImageRecord], tmp_path: Path) -> None:
    """A table that cannot be read is reported instead of being overwritten."""
    (tmp_path / "corrections.csv").write_text("path,label\na,b,c\n")
    with pytest.raises(DataError) as caught:
        Corrections(tmp_path / "corrections.csv", rows, is_multi_label=False).load()
    assert caught.value.code == "data-table-unreadable"


def _next_run(rows: list[ImageRecord], corrections: Corrections) -> list[ImageRecord]:
    """Return the images of a run that is trained with a table of corrections."""
    labels = [corrections.labels.get(row.file, row.labels) for row in rows]
    return [replace(row, labels=one) for row, one in zip(rows, labels, strict=True) if one is not None]


def _reviewed(path: Path, rows: list[ImageRecord], earlier: Path) -> Corrections:
    found = Corrections(path, rows, is_multi_label=False, trained_with=earlier)
    found.load()
    return found


def test_decisions_are_known_in_the_next_runs(rows: list[ImageRecord], tmp_path: Path) -> None:
    """Labels that were kept or corrected are confirmed in a run that was trained with them, and in the one after it."""
    first = _decided(rows, tmp_path / "first" / "corrections.csv")
    first.path.parent.mkdir()
    first.save()
    rows = _next_run(rows, first)
    second = _reviewed(tmp_path / "corrections.csv", rows, first.path)
    assert [second.decision(row) for row in rows] == ["confirmed", "confirmed", None, None, None]

    second.labels[rows[2].file] = ("dogs",)
    second.save()
    rows = _next_run(rows, second)
    third = _reviewed(tmp_path / "third.csv", rows, second.path)

    assert [third.decision(row) for row in rows] == ["confirmed"] * 3 + [None] * 2


def test_several_labels_are_known_in_the_next_run(rows: list[ImageRecord], tmp_path: Path) -> None:
    """Several labels, or none, that were decided are confirmed in the run that was trained with them."""
    first = Corrections(tmp_path / "first.csv", rows, is_multi_label=True)
    first.labels = {rows[0].file: ("cats", "dogs"), rows[1].file: ()}
    first.save()
    rows = _next_run(rows, first)
    second = Corrections(tmp_path / "second.csv", rows, is_multi_label=True, trained_with=first.path)
    second.load()

    assert second.confirmed_files() == {rows[0].file, rows[1].file}


def test_a_confirmation_can_be_undone_in_the_next_run(rows: list[ImageRecord], tmp_path: Path) -> None:
    """A decision that is undone, changed or made in the later review does not come back from the earlier one."""
    first = _decided(rows, tmp_path / "first.csv")
    first.labels = {row.file: row.labels for row in rows[:3]}
    first.save()
    second = _reviewed(tmp_path / "second.csv", rows, first.path)
    del second.labels[rows[0].file]
    second.labels |= {rows[1].file: ("dogs",), rows[3].file: ("cats",)}
    second.save()
    again = _reviewed(second.path, rows, first.path)

    assert [again.decision(row) for row in rows[:5]] == [None, "corrected", "confirmed", "confirmed", None]


def _change_label_of_run(row: ImageRecord, table: Path) -> ImageRecord:
    return replace(row, labels=("dogs",))


def _change_bytes(row: ImageRecord, table: Path) -> ImageRecord:
    return replace(row, facts=ImageFacts("0" * 64, 1))


def _edit_label_in_table(row: ImageRecord, table: Path) -> ImageRecord:
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].replace('"cats","train"', '"dogs","train"')
    table.write_text("\n".join(lines), encoding="utf-8")
    return replace(row, labels=("dogs",))


@pytest.mark.parametrize("change", [_change_label_of_run, _change_bytes, _edit_label_in_table])
@pytest.mark.parametrize("in_same_table", [False, True])
def test_what_changed_after_it_was_confirmed_is_open_again(
    rows: list[ImageRecord], tmp_path: Path, change: Callable[[ImageRecord, Path], ImageRecord], in_same_table: bool
) -> None:
    """A confirmation holds for the bytes and the label that a person saw."""
    first = _decided(rows, tmp_path / "first.csv")
    first.save()
    later = [rows[0], change(rows[1], first.path), *rows[3:]]
    found = _reviewed(first.path if in_same_table else tmp_path / "second.csv", later, first.path)

    assert found.decision(later[1]) != "confirmed"


def test_a_confirmed_image_can_be_moved(rows: list[ImageRecord], tmp_path: Path) -> None:
    """An image is recognized by its bytes under another name; without digests, by its path."""
    first = _decided(rows, tmp_path / "first.csv")
    first.save()
    moved = [replace(rows[1], file=str(tmp_path / "moved.jpg"))]
    assert _reviewed(tmp_path / "second.csv", moved, first.path).counts()["confirmed"] == 1

    first.path.write_text(first.path.read_text(encoding="utf-8").replace(rows[1].digest, ""), encoding="utf-8")
    assert _reviewed(tmp_path / "second.csv", moved, first.path).counts()["confirmed"] == 0
    assert _reviewed(tmp_path / "second.csv", [rows[1]], first.path).counts()["confirmed"] == 1


def test_another_table_of_labels_confirms_nothing(rows: list[ImageRecord], tmp_path: Path) -> None:
    """A table that no review has written has no decisions, whatever its columns are called."""
    table = tmp_path / "labels.csv"
    table.write_text(f'path,label,decision\n"{rows[0].file}",dogs,confirmed\n', encoding="utf-8")

    assert _reviewed(tmp_path / "corrections.csv", rows, table).labels == {}


def test_a_table_that_is_gone_confirms_nothing(
    rows: list[ImageRecord], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the table that a run was trained with was deleted, a warning says that its decisions are not known."""
    found = _reviewed(tmp_path / "corrections.csv", rows, tmp_path / "gone.csv")

    assert found.labels == {}
    codes = [getattr(record.msg, "code", "") for record in caplog.records if record.levelno == logging.WARNING]
    assert codes == ["data-review-table-unreadable"]


def test_all_images_can_be_left_out(rows: list[ImageRecord], tmp_path: Path) -> None:
    """A table without images is read again, so that the decisions can be undone."""
    first = Corrections(tmp_path / "corrections.csv", rows, is_multi_label=False)
    first.labels = dict.fromkeys(row.file for row in rows)
    first.save()
    first.save()
    again = Corrections(first.path, rows, is_multi_label=False)
    again.load()
    assert (again.counts()["excluded"], again.is_label_source) == (len(rows), False)

    del again.labels[rows[0].file]
    again.save()

    assert again.is_label_source
    assert [one.file for one in read_labels(_data(again)).records] == [rows[0].file]


def _data(corrections: Corrections) -> DataConfig:
    return DataConfig.model_validate({"path": corrections.path.parent, "labels": {"path": corrections.path}})


def test_training_without_images_is_refused(rows: list[ImageRecord], tmp_path: Path) -> None:
    """As a label source, a table whose images are all left out is refused with what to do."""
    corrections = Corrections(tmp_path / "corrections.csv", rows, is_multi_label=False)
    corrections.labels = dict.fromkeys(row.file for row in rows)
    corrections.save()
    with pytest.raises(DataError) as caught:
        read_labels(_data(corrections))

    assert caught.value.code == "data-table-unreadable"
    assert "cnncli data review" in str(caught.value)


def test_a_different_table_is_not_overwritten(rows: list[ImageRecord], tmp_path: Path) -> None:
    """A table of this name without the columns of a review is refused instead of being overwritten."""
    table = tmp_path / "corrections.csv"
    table.write_text("path,label\na.jpg,dogs\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Corrections(table, rows, is_multi_label=False).load()

    assert caught.value.code == "data-table-unreadable"
