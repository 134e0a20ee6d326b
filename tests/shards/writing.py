"""Write the images of class folders as shards, with the writers of other projects."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.images.making import jpeg

CLASSES = ("cats", "dogs")

Sample = tuple[str, str, bytes]
"""Name without suffix, label and content of an image."""


def samples(n: int = 12, first_seed: int = 0) -> list[Sample]:
    """Return n distinct images of two classes, sorted by class and name."""
    halves = ((label, range(k, n, 2)) for k, label in enumerate(CLASSES))
    return [(f"{label}/{k:05d}", label, jpeg(first_seed + k, 12, 16)) for label, numbers in halves for k in numbers]


def write_folders(root: Path, chosen: Iterable[Sample]) -> Path:
    """Write images as class folders."""
    for name, _, content in chosen:
        path = root / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_webdataset(path: Path, chosen: Iterable[Sample], **label: Any) -> Path:
    """Write a shard with the writer of webdataset; `label="json"`, or `label="index"`; default: the name in .cls."""
    from webdataset import TarWriter  # type: ignore[import-untyped]

    path.parent.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(path)) as writer:
        for name, text, content in chosen:
            sample: dict[str, Any] = {"__key__": name, "jpg": content}
            if label.get("label") == "json":
                sample["json"] = {"label": text, "caption": "a pet"}
            elif label.get("label") == "index":
                sample["cls"] = CLASSES.index(text)
            else:
                sample["cls"] = text
            writer.write(sample)
    return path


def write_tar(path: Path, members: Iterable[tuple[str, bytes] | tarfile.TarInfo], **options: Any) -> Path:
    """Write a tar with Python's own writer; a `TarInfo` is written without content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, options.pop("mode", "w"), **options) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def pack(folder: Path, path: Path, arcname: str = ".") -> Path:
    """Write a folder as a tar, as `tar cf path -C folder .` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname)
    return path


def write_parquet(path: Path, chosen: Sequence[Sample], rows_per_group: int = 5) -> Path:
    """Write a shard in the layout of Hugging Face."""
    import pyarrow as pa
    from pyarrow import parquet

    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    images = [{"bytes": content, "path": f"{name}.jpg"} for name, _, content in chosen]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {"image": pa.array(images, kind), "label": pa.array([CLASSES.index(label) for _, label, _ in chosen])}
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=rows_per_group)
    return path
