"""Shards as a label source: tar files of WebDataset, Parquet files of Hugging Face.

Labels come from the shards: `.cls` or `.json` next to an image in a tar, else its class folder; in Parquet the column
of labels. Splits come from the names of the shards, such as `train-0001.tar`, or of their folders, or from split
folders in tars.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from cnncli.dataset.issues import MAX_NAMES, error
from cnncli.dataset.labels.folders import OUTSIDE_CLASSES, choose_splits, layout_issues, split_named, why_ignored
from cnncli.dataset.records import SPLITS, UNSPLIT, ImageRecord, LabeledImages
from cnncli.errors import DataError, Message, printable, reason_of
from cnncli.images.formats import ARRAY_SUFFIX, extra_format_named, is_readable
from cnncli.runtime.threads import map_ordered
from cnncli.shards.files import read_beside
from cnncli.shards.index import ShardIndex, is_text, read_index
from cnncli.shards.listing import find_shards, missing_of_series
from cnncli.shards.places import PARQUET, is_remote
from cnncli.storage.image_names import is_image_name
from cnncli.storage.safe_io import MOST_JSON_BYTES, parse_json

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig

Place = tuple[str, str]
"""Split and label of an image; the label is empty if there is none."""

CLASS_FILES = ("classes.txt", "classes.json")
"""Files next to shards with the names of the classes, if labels are their indexes: one a line, or a list or mapping."""


def read_shards(data: DataConfig) -> LabeledImages:
    """Find the images of shards with their labels; only headers, labels and, of Parquet, no images are read.

    All problems of all shards are issues.

    Raises:
        DataError: There are no shards, or they cannot be read.
    """
    root, indexes = _read_indexes(data.path)
    found = LabeledImages(root, shards=tuple(indexes), reads_arrays=data.color == "bands")
    _add_problems(found, indexes)
    reasons = {shard: _why_left_out(shard, index, found.reads_arrays) for shard, index in indexes.items()}
    images = {shard: _without_reason(index.names, reasons[shard]) for shard, index in indexes.items()}
    if not found.issues and not any(images.values()):
        found.issues.append(
            error("data-shards-without-images", found.root, n=sum(len(one.names) for one in indexes.values()))
        )
    splits = _splits_of(found, tuple(indexes))
    for shard, places in _places_of(found, indexes, images, splits).items():
        index, without = indexes[shard], 0
        of_label = {place[1]: (place[1],) for place in set(places) if place}
        for name, reason, place in zip(index.names, reasons[shard], places, strict=True):
            if reason:
                found.left_out[reason] += 1
            elif place is None:
                found.left_out[OUTSIDE_CLASSES] += 1
            elif place[1]:
                found.records.append(ImageRecord(f"{shard}{os.sep}{name}", of_label[place[1]], place[0]))
            else:
                without += 1
        if without:
            found.issues.append(error("data-shard-without-labels", Path(shard), n=without, total=len(places)))
    found.records.sort(key=lambda one: ((*SPLITS, UNSPLIT).index(one.split), one.labels, one.file))
    named = {one.split for one in found.records} | (set(splits.values()) - {UNSPLIT})
    for split in sorted(named or {UNSPLIT}, key=(*SPLITS, UNSPLIT).index):
        found.folders[split] = found.root
        classes = {label for one in found.records if one.split == split for label in one.labels}
        found.classes[split] = tuple(sorted(classes))
    return found


def split_of_shard(path: str, root: Path) -> str | None:
    """Return the split that a word in the name of a shard states, or its folder below the root, or None.

    >>> names = ("train-0001.tar", "imagenet-val-01.tar", "test/0.tar", "a.tar")
    >>> [split_of_shard(f"test/{name}", Path("test")) for name in names]
    ['train', 'validation', 'test', None]
    """
    place = PurePath(path)
    named = {split for word in re.split(r"[\W_\d]+", place.stem) if (split := split_named(word))}
    if len(named) == 1:
        return named.pop()
    return None if place.parent == root else split_named(place.parent.name)


def images_in(shard: str, index: ShardIndex, reads_arrays: bool) -> list[str]:
    """Return the names of the images of a shard: all rows of a Parquet file, the files of a tar by their suffix.

    Hidden files and those of the system are left out, as in folders. Folders around all files can have any name.
    """
    return _without_reason(index.names, _why_left_out(shard, index, reads_arrays))


def _without_reason(names: Sequence[str], reasons: Sequence[str]) -> list[str]:
    return [name for name, reason in zip(names, reasons, strict=True) if not reason]


def _why_left_out(shard: str, index: ShardIndex, reads_arrays: bool) -> list[str]:
    """Return for each file of a shard the reason for leaving it out, "" for images."""
    if shard.lower().endswith(PARQUET):
        return [""] * len(index.names)
    depth, arrays = _depth_around(index.names), (ARRAY_SUFFIX,) if reads_arrays else ()

    def is_image(name: str) -> bool:
        return is_image_name(name) or name.lower().endswith(arrays) or is_readable(extra_format_named(name))

    return [_why_ignored(name, depth) or ("" if is_image(name) else "not an image") for name in index.names]


def _depth_around(names: Sequence[str]) -> int:
    """Return the number of folders in which all files of a tar are.

    >>> _depth_around(["a/.b/cats/1.jpg", "a/.b/cats/2.jpg", "a/.b/dogs/3.jpg"])
    2
    """
    around = posixpath.commonpath([_folder_of(min(names)), _folder_of(max(names))]) if names else ""
    return around.count("/") + 1 if around else 0


def _why_ignored(name: str, depth: int) -> str:
    """Return the reason for leaving out a file of a tar because of its name or that of a folder from a depth on."""
    return next(filter(None, map(why_ignored, name.split("/")[depth:])), "")


def _read_indexes(path: Path) -> tuple[Path, dict[str, ShardIndex]]:
    """Return the folder of all shards, and their indexes by path; raise DataError if there are none."""
    if not is_remote(path):
        # A link to a folder is resolved as for class folders; one to a file may lead to a name without a suffix.
        path = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
    try:
        shards = find_shards(path)
        indexes = dict(zip(shards, map_ordered(index_of_shard, shards), strict=True))
    except (OSError, ValueError) as problem:
        text = f"{printable(path)}: cannot be read as shards ({reason_of(problem)})"
        raise DataError(Message("data-shards-missing", text, path=path)) from None
    if missing := missing_of_series(path, shards):
        names = ", ".join([PurePath(one).name for one in missing[:MAX_NAMES]] + ["…"] * (len(missing) > MAX_NAMES))
        text = f"{printable(path)}: shards that are missing in a series: {len(missing):,} ({printable(names)})"
        raise DataError(Message("data-shards-missing", text, path=path))
    if not shards:
        text = f"{printable(path)}: no shards (.tar or .parquet) have this name, or are in this folder"
        text += ", or are readable with these credentials" if is_remote(path) else ""
        raise DataError(Message("data-shards-missing", text, path=path))
    folders = [os.path.dirname(shard) for shard in shards]  # noqa: PTH120
    return path if not is_remote(path) and path.is_dir() else Path(os.path.commonpath(folders)), indexes


def index_of_shard(path: str) -> ShardIndex:
    """Return the index of a shard; one that cannot be read has a problem instead of images."""
    try:
        return read_index(path)
    except OSError as problem:
        return ShardIndex.unusable(f"cannot be read ({reason_of(problem)})")


def _add_problems(found: LabeledImages, indexes: Mapping[str, ShardIndex]) -> None:
    for shard, index in indexes.items():
        for name, reason in index.problems:
            place = Path(f"{shard}{os.sep}{name}" if name else shard)
            found.issues.append(error("data-shard-refused", place, reason=reason))


def _splits_of(found: LabeledImages, shards: Sequence[str]) -> dict[str, str]:
    """Return the split of each shard; either all of them have one, or none."""
    splits = {shard: split_of_shard(shard, found.root) for shard in shards}
    without = [shard for shard, split in splits.items() if split is None]
    if without and len(without) < len(shards):
        others = tuple(PurePath(shard).name for shard in without)
        found.issues.append(error("data-shards-without-split", found.root, names=others, n=len(others)))
    return {shard: (UNSPLIT if without else split) or UNSPLIT for shard, split in splits.items()}


def _places_of(
    found: LabeledImages,
    indexes: Mapping[str, ShardIndex],
    images: Mapping[str, Sequence[str]],
    splits: Mapping[str, str],
) -> dict[str, list[Place | None]]:
    """Return the place of each file of each shard: as stated, or else by its folder, where None is outside of all."""
    if any(any(index.labels) for index in indexes.values()):
        labels = _stated_labels(found, indexes)
        # Only if nothing else states a split, and the folders of all images do.
        in_folders = _splits_of_folders(images.values()) if {*splits.values()} == {UNSPLIT} else {}
        return {
            shard: [
                (in_folders.get(_folder_of(name), splits[shard]), label)
                for name, label in zip(index.names, labels[shard], strict=True)
            ]
            for shard, index in indexes.items()
        }
    around = {shard: _own_folder(shard, images[shard]) for shard in indexes}
    of_folder: dict[str, dict[str, Place]] = {}
    for split in sorted(set(splits.values())):
        of_shard = [
            {_folder_of(name.removeprefix(around[shard])) for name in images[shard]}
            for shard in indexes
            if splits[shard] == split and images[shard]
        ]
        _require_same_tops(found, of_shard)
        of_folder[split] = _read_layout(found, set().union(*of_shard), split)
    return {
        shard: [of_folder[splits[shard]].get(_folder_of(name.removeprefix(around[shard]))) for name in index.names]
        for shard, index in indexes.items()
    }


def _own_folder(shard: str, names: Sequence[str]) -> str:
    """Return the folder around all folders of a numbered shard that has its name, such as `part-000/`, or ""."""
    folder = f"{PurePath(shard).stem}/"
    is_around = folder[-2].isdigit() and all(name.startswith(folder) and name.count("/") > 1 for name in names)
    return folder if is_around else ""


def _require_same_tops(found: LabeledImages, of_shard: Sequence[Collection[str]]) -> None:
    """Add an error if each shard has a folder of its own with nothing but folders: either can be the classes."""
    tops = [{folder.partition("/")[0] for folder in folders} for folders in of_shard]
    names = set().union(*tops)
    has_only_folders = all("/" in folder for folders in of_shard for folder in folders)
    if len(names) > 1 and has_only_folders and all(len(one) == 1 for one in tops) and not any(map(split_named, names)):
        found.issues.append(error("data-shards-other-folders", found.root, names=tuple(sorted(names))))


def _splits_of_folders(images: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return the split of each folder of images with labels if all are in split folders, else nothing.

    >>> _splits_of_folders([["photos/train/a/1.jpg", "photos/val/2.jpg"]])
    {'photos/train/a': 'train', 'photos/val': 'validation'}
    """
    paths = {folder: folder.split("/") for folder in sorted({_folder_of(name) for name in chain(*images)})}
    for depth in range(min(map(len, paths.values()), default=0)):
        named = {folder: split_named(path[depth]) for folder, path in paths.items()}
        if all(named.values()):
            return {folder: split for folder, split in named.items() if split}
        if len({path[depth] for path in paths.values()}) > 1:
            break
    return {}


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _read_layout(found: LabeledImages, folders: set[str], split: str) -> dict[str, Place]:
    """Return the place of the images of each folder: by class folders, or by split folders with class folders.

    Args:
        found: Receives the issues.
        folders: All folders of images in the shards of a split.
        split: The split that the names of these shards state, or `UNSPLIT`.
    """
    paths = {folder: folder.split("/") if folder else [] for folder in sorted(folders)}
    depth = _depth_of_layout(paths.values())
    inside: dict[str, set[str]] = {}
    for path in paths.values():
        for name in path[depth : depth + 1]:
            inside.setdefault(name, set()).update(path[depth + 1 : depth + 2])
    chosen = {name: one for one, name in choose_splits(found, inside, lambda name: bool(inside[name])).items()}
    if not chosen:
        found.issues += layout_issues(found.root, inside)
        if len(inside) == 1 and any(inside.values()):
            (label, names), *_ = inside.items()
            found.issues.append(
                error("data-shard-folders-ambiguous", found.root, label=label, names=tuple(sorted(names)))
            )
        return {folder: (split, "".join(path[depth : depth + 1])) for folder, path in paths.items()}
    if others := tuple(name for name, one in chosen.items() if split not in (one, UNSPLIT)):
        found.issues.append(error("data-shard-split-contradiction", found.root, split=split, names=others))
    return {
        folder: (chosen[path[depth]], "".join(path[depth + 1 : depth + 2]))
        for folder, path in paths.items()
        if len(path) > depth and path[depth] in chosen
    }


def _depth_of_layout(paths: Collection[Sequence[str]]) -> int:
    """Return the number of folders around the class folders or split folders: those with nothing next to them.

    >>> _depth_of_layout([["photos", "cats"], ["photos", "dogs"]])
    1
    """
    depth = 0
    while len({tuple(path[: depth + 1]) for path in paths}) == 1 and all(len(path) > depth + 1 for path in paths):
        if split_named(next(iter(paths))[depth]):
            break
        depth += 1
    return depth


def _stated_labels(found: LabeledImages, indexes: Mapping[str, ShardIndex]) -> dict[str, list[str]]:
    """Return the labels of the images of each shard, by their names if they are indexes."""
    beside: dict[str, dict[str, str]] = {}
    labels = {}
    for shard, index in indexes.items():
        names = {str(n): name for n, name in enumerate(index.classes)}
        if not names:
            folder = os.path.dirname(shard)  # noqa: PTH120
            names = beside[folder] = beside[folder] if folder in beside else _names_beside(found, folder)
        labels[shard] = [names.get(label, label) for label in index.labels]
        unknown = {label for label in index.labels if label.isdecimal() and label not in names} if names else ()
        if unknown:
            issue = error("data-shard-unknown-class", Path(shard), labels=tuple(sorted(unknown)), n=len(names))
            found.issues.append(issue)
    return labels


def _names_beside(found: LabeledImages, folder: str) -> dict[str, str]:
    """Return the names of the classes by the text of their index, from a file next to shards."""
    for name in CLASS_FILES:
        path = f"{folder}{os.sep}{name}"
        try:
            content = read_beside(path, MOST_JSON_BYTES)
            if content is not None:
                names = _parse_names(content, is_json=name.endswith(".json"))
                if not all(map(is_text, names.values())):
                    raise ValueError("a name that is not text")
                return names
        except (OSError, ValueError) as problem:
            found.issues.append(
                error("data-shard-refused", Path(path), reason=f"cannot be read ({reason_of(problem)})")
            )
    return {}


def _parse_names(content: bytes, is_json: bool) -> dict[str, str]:
    """Return names by index: from lines, or a JSON list, or a mapping from index to name or from name to index.

    >>> _parse_names(b'{"cats": 0, "dogs": 1}', is_json=True)
    {'0': 'cats', '1': 'dogs'}
    """
    if not is_json:
        lines = content.decode("utf-8-sig").splitlines()
        return {str(n): line.strip() for n, line in enumerate(lines) if line.strip()}
    value = parse_json(content)
    if isinstance(value, list):
        value = {str(n): name for n, name in enumerate(value)}
    if not isinstance(value, dict):
        raise ValueError("neither a list nor a mapping")
    if all(isinstance(one, int) for one in value.values()):
        value = {str(number): name for name, number in value.items()}
    if not all(isinstance(name, str) and name for name in value.values()):
        raise ValueError("a name that is not text")
    return value
