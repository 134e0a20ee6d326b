"""Unusual file names, and entries of folders that are not regular files."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.images.making import encoded
from tests.images.zoo.kinds import (
    Kind,
    LeftOut,
    Refused,
    Shades,
    Used,
    image,
    kind,
)


def named_kinds(shades: Shades) -> Iterator[Kind]:
    """Return files with unusual names that file systems allow."""
    names = (
        "größe-日本語-🐈.png",
        os.fsdecode(b"caf\xe9-\xff\xfe.png"),
        "with some  spaces .png",
        "new\nline\tand\rmore\x1b[31m.png",
        'it\'s "quoted" `$HOME`; --.png',
        "-rf.png",
        "[a-z]*?.png",
        "[red]{x}%s\\n.png",
        "a,b;c=d&e#f@g.png",
        "x" * 251 + ".png",
        "a..b.PnG",
    )
    for name in names:
        shade = next(shades)
        yield kind(name, encoded(image(shade)), Used(shade))


def irregular_kinds(shades: Shades) -> Iterator[Kind]:
    """Return hidden files, system files, links, folders, pipes and devices."""
    no_image = Refused("image-unknown-format")
    hidden = "hidden file or folder"
    yield kind("._x.jpg", b"\0\x05\x16\x07\0\x02\0\0Mac OS X", LeftOut(hidden, no_image))
    yield kind(".DS_Store", b"\0\0\0\1Bud1\0\0\x10\0", LeftOut(hidden, no_image))
    yield kind("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", LeftOut("system file such as Thumbs.db", no_image))
    shade = next(shades)
    yield kind(".hidden.png", encoded(image(shade)), LeftOut(hidden, Used(shade)))
    shade = next(shades)
    yield kind(".hidden-folder/inside.png", encoded(image(shade)), LeftOut(hidden, Used(shade)))
    shade = next(shades)
    yield kind("folder.jpg/inside.png", encoded(image(shade)), Used(shade), "folder.jpg")
    empty = LeftOut("empty folder named like an image", Refused("predict-no-images"))
    yield kind("empty-folder.jpg", Path.mkdir, empty)
    shade = next(shades)
    yield kind("link-to-a-image.png", _link(encoded(image(shade))), Used(shade))
    gone = Refused("image-not-found")
    yield kind("link-to-nothing.jpg", lambda path: path.symlink_to("gone"), gone)
    yield kind("link-to-nothing", lambda path: path.symlink_to("gone"), LeftOut("broken link", gone))
    loop = Refused("image-unreadable")
    yield kind("link-to-itself.jpg", lambda path: path.symlink_to(path.name), loop)
    again = LeftOut("link to a folder that was already visited", Refused("predict-no-images"))
    yield kind("folder-in-itself.jpg/link", lambda path: path.symlink_to(path.parent), again, "folder-in-itself.jpg")
    yield kind("device.jpg", lambda path: path.symlink_to("/dev/zero"), Refused("image-not-a-file"))
    pipe = Refused("image-not-a-file")
    yield kind("pipe.jpg", os.mkfifo, pipe)
    yield kind("pipe", os.mkfifo, LeftOut("not a regular file", pipe))
    yield kind("socket.png", _bind, Refused("image-not-a-file"))
    if os.geteuid() != 0:  # nothing is closed to root
        shade = next(shades)
        yield kind("closed.png", _closed(encoded(image(shade))), Refused("image-unreadable"))


def _link(data: bytes) -> Callable[[Path], object]:
    """Create a link to a file outside the class folders, two folders up."""

    def write(path: Path) -> None:
        target = path.parents[1].with_name(f"{path.parents[1].name}-linked") / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
        path.symlink_to(target)

    return write


def _bind(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    except PermissionError:  # macOS: by its proper way, which takes short paths alone
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))


def _closed(data: bytes) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_bytes(data)
        path.chmod(0)

    return write
