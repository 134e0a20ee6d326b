"""Lists of names in an HDF5 file, read in a process of its own that may take so much memory and time, and no more.

A list of texts is a list of places, and a thousand of them can be the place of one long text: what reading it takes is
known when it is read. The process writes each list as a line of JSON:

    python -m cnncli.networks.weights.hdf5_names FILE BYTES
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.runtime.memory import limited

if TYPE_CHECKING:
    import h5py

MOST_BYTES = 1_500_000_000
"""That reading all lists of a file may take."""
MOST_SAID = 16 * 2**20
"""Characters of all lists."""
PATIENCE_S = 20.0

Lists = Mapping[tuple[str, str], Sequence[str]]
"""Path of a group and name of its attribute → names."""


def lists_apart(path: Path) -> Lists:
    """All lists of names in the attributes of a file's groups; none where reading them takes too much."""
    now = path.stat()
    return _lists_apart(path, now.st_size, now.st_mtime_ns, MOST_BYTES)


def texts_of(values: Any) -> list[str]:
    """Convert the value of an attribute to strings."""
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in np.ravel(values)]


@lru_cache(maxsize=4)  # one process tells all lists of a file
def _lists_apart(path: Path, _size: int, _mtime_ns: int, most_bytes: int) -> Lists:
    command = [sys.executable, "-P", "-m", __name__, os.fspath(path.absolute()), str(most_bytes)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return {}
    if done.returncode != 0:
        return {}
    return {(group, attribute): names for group, attribute, names in map(json.loads, done.stdout.splitlines())}


def main() -> None:
    """Write the lists, or exit with 1."""
    import h5py

    path, most_bytes = sys.argv[1:]
    left = MOST_SAID
    with h5py.File(path, "r") as file, limited(int(most_bytes)) as is_limited:
        if not is_limited:
            sys.exit(1)
        for found in _lists_in(file):
            line = json.dumps(found)
            left -= len(line)
            if left < 0:
                sys.exit(1)
            print(line)


def _lists_in(file: h5py.File) -> Iterator[tuple[str, str, list[str]]]:
    import h5py

    groups = ["/"]
    file.visit(groups.append)  # each object once, and no link to somewhere else
    for path in groups:
        attributes = file[path].attrs
        for name in attributes:
            declared = attributes.get_id(name)
            if math.prod(declared.shape or ()) > 1 and h5py.check_string_dtype(declared.dtype) is not None:
                yield file[path].name, name, texts_of(attributes[name])


if __name__ == "__main__":
    main()
