"""Class folders that do not fit: absent, empty, alone, or not the same in every split. Classes are matched by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from cnncli.dataset.inventory import ImageRecord
from cnncli.dataset.scan import SPLIT_NAMES, Scan
from cnncli.errors import printable

SHOWN = 5
"""So many names of classes are listed where all are meant."""


def class_problems(scan: Scan, images: Sequence[ImageRecord]) -> list[str]:
    """What keeps a folder from being trained on, a line each: about its classes and splits, not about single files.

    Args:
        scan: the folder.
        images: those of its candidates that can be read.
    """
    lines = list(scan.problems)
    for split, folder in scan.folders.items():
        if not scan.classes[split]:
            lines.append(f"{printable(folder)}: no class folders in it{_hint_for_flat(scan)}")
        lines += _empty(folder, scan.classes[split], {one.label for one in images if one.split == split})
    if scan.has_splits and "train" not in scan.folders:
        lines.append(f"{printable(scan.root)}: {_named(scan.folders, 'folder')} but no train folder")
    first = next(iter(scan.folders))
    for split in scan.folders if scan.classes[first] else ():
        lines += _difference(scan.folders[split], scan.classes[split], first, scan.classes[first])
    if len(scan.classes[first]) == 1:
        only = scan.classes[first][0]
        hint = _hint_for_wrapper(scan.folders[first] / only)
        lines.append(
            f"{printable(scan.folders[first])}: only one class, {printable(only)}; at least two are needed{hint}"
        )
    return lines


def class_warnings(scan: Scan) -> list[str]:
    """A sentence about each two class folders of a split whose names differ by what cannot be heard alone."""
    pairs: dict[tuple[str, str], None] = {}
    for names in scan.classes.values():
        alike: dict[str, str] = {}
        for name in names:
            other = alike.setdefault(_spoken(name), name)
            if other != name:
                pairs[other, name] = None
    return [
        f"{printable(scan.root)}: the classes {_quoted(one)} and {_quoted(other)} sound alike; are they one class?"
        for one, other in pairs
    ]


def known_class_problems(
    folder: Path, present: Iterable[str], images: Sequence[ImageRecord], classes: Sequence[str], allow_missing: bool
) -> list[str]:
    """What keeps class folders from being scored by a classifier that knows `classes`, a line each.

    Args:
        folder: holds the class folders.
        present: names of the class folders.
        images: those in it that can be read.
        classes: the classifier's.
        allow_missing: accept that some of these are absent or empty.
    """
    filled = {one.label for one in images}
    known = ", ".join(map(printable, classes))
    lines = [
        f"{printable(folder)}: unknown class {printable(name)}; the run knows {known}"
        for name in sorted(set(present) - set(classes))
    ]
    if not allow_missing:
        lines += [
            f"{printable(folder)}: no images of the class {printable(name)}, which the run knows;"
            " --allow-missing accepts this"
            for name in sorted(set(classes) - filled)
        ]
    elif not filled:
        lines.append(f"{printable(folder)}: no images of any class the run knows ({known})")
    return lines


def too_small_problems(root: Path, labels: Sequence[str], splits: Sequence[str], wanted: Collection[str]) -> list[str]:
    """A line for each class that got no image in one of the splits it was divided into."""
    filled = set(zip(labels, splits, strict=True))
    short = sorted({label for label in labels if any((label, split) not in filled for split in wanted)})
    return [
        f"{printable(root / label)}: {_too_few(labels.count(label))} to give at least one to each of"
        f" {', '.join(wanted)}"
        for label in short
    ]


def _too_few(n: int) -> str:
    return "1 image is too few" if n == 1 else f"{n:,} images, identical ones kept together, are too few"


def _empty(folder: Path, classes: Iterable[str], filled: Collection[str]) -> list[str]:
    return [f"{printable(folder / name)}: no readable image in this class" for name in classes if name not in filled]


def _difference(folder: Path, classes: Collection[str], other: str, expected: Collection[str]) -> list[str]:
    if not classes:
        return []  # said already
    where = printable(folder)
    missing = [name for name in expected if name not in classes]
    extra = [name for name in classes if name not in expected]
    renamed = _renamed(missing, extra)
    lines = [
        f"{where}: holds the class {_quoted(here)}, which {other} calls {_quoted(there)}; give both folders one name"
        for there, here in renamed.items()
    ]
    missing = [name for name in missing if name not in renamed]
    extra = [name for name in extra if name not in renamed.values()]
    if len(missing) == len(expected) and extra:
        lines.append(f"{where}: has no class of {other}, {_some(expected)}, but {_some(classes)}")
        return lines
    lines += [f"{where}: lacks the class {printable(name)} of {other}" for name in missing]
    return lines + [f"{where}: holds the class {printable(name)}, which {other} lacks" for name in extra]


def _renamed(missing: Iterable[str], extra: Iterable[str]) -> dict[str, str]:
    """Names of classes that are missing, and what these seem to be called instead."""
    spoken = {_spoken(name).rstrip("s"): name for name in extra}
    return {name: spoken.pop(key) for name in missing if (key := _spoken(name).rstrip("s")) in spoken}


def _spoken(name: str) -> str:
    """A name without what cannot be heard: case, spaces, signs between words, the form in which accents are written."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return (
        "".join(sign for place, sign in enumerate(plain) if sign not in " _\t" and (sign != "-" or not place)) or plain
    )


def _quoted(name: str) -> str:
    return f'"{printable(name)}"'


def _some(names: Collection[str]) -> str:
    shown = ", ".join(map(printable, list(names)[:SHOWN]))
    return f"{shown}, …" if len(names) > SHOWN else shown


def _named(names: Iterable[str], kind: str) -> str:
    return " and ".join(f"a {name} {kind}" for name in names)


def _hint_for_flat(scan: Scan) -> str:
    loose = scan.left_out["image outside the class folders"]
    return f" (images that lie loose: {loose:,}); give every class a folder of its own" if loose else ""


def _hint_for_wrapper(folder: Path) -> str:
    """Archives often unpack into one folder around everything."""
    try:
        inside = {path.name.lower() for path in folder.iterdir() if path.is_dir()}
    except OSError:
        return ""
    return f". Did you mean {printable(folder)}?" if "train" in inside & SPLIT_NAMES.keys() or len(inside) > 1 else ""
