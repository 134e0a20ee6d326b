"""Measure `cnncli serve` beside `cnncli predict` on the same images, and attack it.

    python scripts/load_server.py RUN IMAGES/ --rounds 3 --connections 16
    python scripts/load_server.py RUN IMAGES/ --hostile 1000

Each round classifies all images with both, one after the other, so that other programs on the machine slow both. The
time of `predict` does not include that for one image, which is its start. The processor time of the server is that of
its process only, while requests come from this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.hostile_requests import KINDS, Address, attack, multipart, post

COMMAND = (sys.executable, "-m", "cnncli")


@contextmanager
def serving(run: str, *options: str) -> Iterator[tuple[Address, int]]:
    """Serve a run at a free port, and yield the address and the number of the process."""
    process = subprocess.Popen(
        [*COMMAND, "-q", "serve", run, "--port", "0", *options], stdout=subprocess.PIPE, text=True
    )
    try:
        parts = urlsplit((process.stdout or sys.stdin).readline())
        yield (str(parts.hostname), int(parts.port or 0)), process.pid
    finally:
        process.terminate()
        process.wait(30)


async def send_all(address: Address, requests: Sequence[bytes], connections: int) -> list[float]:
    """Send requests over connections that stay open, and return the seconds of each until its answer."""
    waiting, latencies = list(reversed(requests)), []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(*address)
        while waiting:
            request = waiting.pop()
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
            if not head.startswith(b"HTTP/1.1 200"):
                raise click.ClickException(head.decode())
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies


def seconds_of(arguments: Sequence[str]) -> tuple[float, float]:
    """Run cnncli, and return its elapsed and its processor time in seconds."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([*COMMAND, "-q", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, used


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> dict[str, float]:
    """Return the current and the largest resident memory of a process in MB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) / 1000 for name in ("VmRSS", "VmHWM")}


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.argument("run")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--rounds", default=3, show_default=True, help="Number of rounds.")
@click.option("--connections", default=16, show_default=True, help="Number of requests at a time.")
@click.option("--images", default=1, show_default=True, help="Number of images in a request.")
@click.option("--hostile", default=0, metavar="N", help="Send N hostile requests instead.")
def main(run: str, folder: Path, rounds: int, connections: int, images: int, hostile: int) -> None:
    """Print the measurements."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if hostile:
        _attack(run, files, hostile)
        return
    contents = [path.read_bytes() for path in files]
    groups = [contents[start : start + images] for start in range(0, len(contents), images)]
    requests = [
        (post(group[0]) if images == 1 else multipart(*group)).replace(b"Connection: close\r\n", b"")
        for group in groups
    ]
    ratios = []
    with serving(run) as (address, pid):
        asyncio.run(send_all(address, requests[: 4 * connections], connections))
        for number in range(rounds):
            started, used = time.perf_counter(), processor_seconds(pid)
            latencies = asyncio.run(send_all(address, requests, connections))
            rate = len(files) / (time.perf_counter() - started)
            used = processor_seconds(pid) - used
            start, whole = (
                seconds_of(["predict", "--run", run, str(files[0])]),
                seconds_of(["predict", "--run", run, str(folder)]),
            )
            predict_rate = len(files) / (whole[0] - start[0])
            ratios.append(rate / predict_rate)
            p50, p99 = np.percentile(np.array(latencies) * 1000, (50, 99))
            click.echo(
                f"round {number + 1}: server {rate:.0f} images/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
                f"{1000 * used / len(files):.2f} ms of processor time per image; predict {predict_rate:.0f} images/s, "
                f"{1000 * (whole[1] - start[1]) / len(files):.2f} ms; ratio {ratios[-1]:.2f}"
            )
    click.echo(f"median ratio {np.median(ratios):.2f}")


def _attack(run: str, files: Sequence[Path], n: int) -> None:
    photo = files[0].read_bytes()
    with serving(run, "--timeout", "5") as (address, pid):
        model = Path(run).name
        attack(address, photo, model, len(KINDS), seed=1)  # libraries keep memory once they have worked
        before, warm = _answer(address, photo), memory_mb(pid)
        started = time.perf_counter()
        found = attack(address, photo, model, n)
        seconds = time.perf_counter() - started
        same, after = _answer(address, photo) == before, memory_mb(pid)
    for (name, status), count in sorted(found.items()):
        click.echo(f"{name:28} {status or 'closed'}  {count}")
    click.echo(
        f"{n} hostile requests in {seconds:.0f} s; the same answer afterwards: {same}; resident memory "
        f"{warm['VmRSS']:.0f} MB before, {after['VmRSS']:.0f} MB after, at most {after['VmHWM']:.0f} MB"
    )


def _answer(address: Address, photo: bytes) -> object:
    async def ask() -> object:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(post(photo))
        content = await reader.read()
        writer.close()
        return json.loads(content.partition(b"\r\n\r\n")[2])

    return asyncio.run(ask())


if __name__ == "__main__":
    main()
