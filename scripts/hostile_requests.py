"""Requests that try to crash `cnncli serve`, to fill its memory or to keep its connections, drawn at random.

from scripts.hostile_requests import attack
attack(("127.0.0.1", 8000), photo, n=1000)   # {("truncated JPEG", 422): 61, ...}
"""

from __future__ import annotations

import io
import json
import random
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

Address = tuple[str, int]
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Attack:
    """Bytes to send, and the pause in seconds before the last `slow` bytes of them, each of which waits."""

    content: bytes
    slow: int = 0
    pause_s: float = 0.0


def post(body: bytes, kind: str = "application/octet-stream", path: str = "/predict", headers: str = "") -> bytes:
    """Return a request with a body."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n{headers}\r\n"
    ).encode() + body


def multipart(*files: bytes, name: str = "a.jpg", boundary: str = "cut", charset: str = "utf-8") -> bytes:
    """Return a request with files in a form."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode()
    body = b"".join(head + file + b"\r\n" for file in files) + f"--{boundary}--\r\n".encode()
    return post(body, f"multipart/form-data; boundary={boundary}; charset={charset}")


def _png(width: int, height: int, pixels: bytes) -> bytes:
    """Return a grayscale PNG that states a size, with compressed pixels of any size."""

    def block(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(pixels)) + block(b"IEND", b"")


def _gif(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("P", (side, side)).save(file, "GIF")
    return file.getvalue()


def _damaged(photo: bytes, rng: random.Random) -> bytes:
    content = bytearray(photo)
    for _ in range(rng.randint(1, 200)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _infer(document: object, binary: bytes = b"") -> bytes:
    body = json.dumps(document).encode()
    headers = f"Inference-Header-Content-Length: {len(body)}\r\n" if binary else ""
    return post(body + binary, "application/json", "/v2/models/MODEL/infer", headers)


def _tensor(rng: random.Random) -> bytes:
    """Return an inference request with a wrong shape, type or size."""
    shapes: tuple[object, ...] = ([2**40], [-1], [10**6, 10**6, 10**6, 3], [], [1.5], "x", [1, 2, 2, 3], [64], [65])
    return _infer(
        {
            "inputs": [
                {
                    "name": rng.choice(("images", "pixels", "", 3, None)),
                    "datatype": rng.choice(("BYTES", "UINT8", "FP32", None)),
                    "shape": rng.choice(shapes),
                    "data": rng.choice(([1e308] * 12, ["!"], [[[[]]]], {}, None, ["AAAA"] * 64)),
                }
            ]
        }
    )


def _surrogates(rng: random.Random) -> dict[str, object]:
    """Return a tensor with a lone surrogate, which UTF-8 cannot encode, in one of its entries."""
    text = "\ud800"
    entry: dict[str, object] = {"name": "images", "datatype": "BYTES", "shape": [1]}
    return rng.choice([{**entry, "datatype": text}, {**entry, "parameters": {"binary_data_size": text}}])


KINDS: dict[str, Callable[[random.Random, bytes], Attack]] = {
    "truncated JPEG": lambda rng, photo: Attack(post(photo[: rng.randrange(2, len(photo))])),
    "damaged JPEG": lambda rng, photo: Attack(post(_damaged(photo, rng))),
    "random bytes": lambda rng, _: Attack(post(rng.randbytes(rng.randrange(5000)))),
    "JPEG of random bytes": lambda rng, _: Attack(post(b"\xff\xd8\xff\xe0" + rng.randbytes(4000))),
    "PNG of many pixels": lambda _, __: Attack(post(_png(60_000, 60_000, bytes(1000)))),
    "PNG at the limit of pixels": lambda _, __: Attack(post(_png(7000, 7000, bytes(7001 * 7000)))),
    "PNG longer than stated": lambda _, __: Attack(post(_png(10, 10, bytes(20_000_000)))),
    "GIF bomb": lambda rng, _: Attack(post(_gif(rng.choice((7_000, 16_000))))),
    "SVG": lambda _, __: Attack(
        post(b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>')
    ),
    "SVG with entities": lambda _, __: Attack(
        post(b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>')
    ),
    "HTML as JPEG": lambda _, __: Attack(multipart(b"<script>alert(1)</script>", name="../../etc/passwd\x01")),
    "ZIP behind a JPEG": lambda rng, photo: Attack(post(photo + b"PK\x03\x04" + rng.randbytes(2000))),
    "GIF that is a script": lambda rng, _: Attack(post(b"GIF89a/*\x00\x00*/=1;alert(1)//" + rng.randbytes(100))),
    "PDF": lambda rng, _: Attack(post(b"%PDF-1.7\n" + rng.randbytes(500))),
    "NumPy array of objects": lambda _, __: Attack(post(b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (1,)}")),
    "nothing": lambda _, __: Attack(post(b"")),
    "too large": lambda _, __: Attack(post(bytes(33_000_000))),
    "stated size of a terabyte": lambda _, __: Attack(post(b"x").replace(b"Length: 1\r", b"Length: 1000000000000\r")),
    "negative size": lambda _, __: Attack(post(b"x").replace(b"Length: 1\r", b"Length: -5\r")),
    "two sizes": lambda _, __: Attack(post(b"x", headers="Content-Length: 7\r\n")),
    "chunks without end": lambda _, photo: Attack(
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n" % (len(photo), photo) * 3,
        slow=1,
        pause_s=0.1,
    ),
    "compressed body": lambda _, __: Attack(post(zlib.compress(bytes(10**7)), headers="Content-Encoding: gzip\r\n")),
    "huge header": lambda rng, _: Attack(post(b"", headers=f"X-Long: {'a' * rng.choice((9_000, 200_000))}\r\n")),
    "many headers": lambda _, __: Attack(post(b"", headers="".join(f"X-{n}: 1\r\n" for n in range(3000)))),
    "no HTTP": lambda rng, _: Attack(rng.randbytes(300)),
    "TLS": lambda rng, _: Attack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300)),
    "slow headers": lambda _, __: Attack(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX: aaaa", slow=3, pause_s=0.5),
    "slow body": lambda _, photo: Attack(post(photo)[:-20], slow=3, pause_s=0.5),
    "other host": lambda _, photo: Attack(post(photo).replace(b"Host: localhost", b"Host: rebound.example")),
    "other origin": lambda _, photo: Attack(post(photo, headers="Origin: https://elsewhere.example\r\n")),
    "many images": lambda _, __: Attack(multipart(*[b"GIF89a"] * 100)),
    "form without boundary": lambda _, __: Attack(post(b"--x", "multipart/form-data")),
    "form that ends early": lambda _, photo: Attack(
        post(multipart(photo)[300:-100], "multipart/form-data; boundary=cut")
    ),
    "form with many fields": lambda _, __: Attack(
        post(
            b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 3000,
            "multipart/form-data; boundary=cut",
        )
    ),
    "form with a huge field": lambda _, __: Attack(
        post(
            b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + bytes(5_000_000) + b"\r\n--cut--",
            "multipart/form-data; boundary=cut",
        )
    ),
    "form in an odd encoding": lambda rng, photo: Attack(
        multipart(photo, charset=rng.choice(("punycode", "undefined")))
    ),
    "JSON nested deep": lambda _, __: Attack(post(b"[" * 200_000, path="/v2/models/MODEL/infer")),
    "JSON of many numbers": lambda _, __: Attack(post(b"[" + b"1," * 6_000_000 + b"1]", path="/v2/models/MODEL/infer")),
    "tensor that is wrong": lambda rng, _: Attack(_tensor(rng)),
    "tensor with a lone surrogate": lambda rng, _: Attack(_infer({"inputs": [_surrogates(rng)]})),
    "tensor of a lying size": lambda rng, _: Attack(
        _infer(
            {
                "inputs": [
                    {
                        "name": "images",
                        "datatype": "BYTES",
                        "shape": [1],
                        "parameters": {"binary_data_size": rng.choice((8, 2**60, -1, 1e9))},
                    }
                ]
            },
            struct.pack("<I", 2**31) + b"abcd",
        )
    ),
    "wrong query": lambda _, photo: Attack(post(photo, path="/predict?top=-1&maps=what&x=%00%ff")),
    "path outside": lambda _, __: Attack(
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ),
    "unknown method": lambda rng, _: Attack(
        b"AAAA%d /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % rng.randrange(10**9)
    ),
    "digits without end": lambda _, __: Attack(
        post(b"{}", path="/v2/models/MODEL/infer", headers=f"Inference-Header-Content-Length: {'9' * 5000}\r\n")
    ),
    "upgrade": lambda _, __: Attack(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    ),
}


def attack(
    address: Address, photo: bytes, model: str, n: int = 1000, seed: int = 0, threads: int = 8
) -> Counter[tuple[str, int]]:
    """Send n hostile requests, a few at a time, and count the statuses of the answers by kind; 0 is no answer."""

    def send_one(number: int) -> tuple[str, int]:
        rng = random.Random(f"{seed} {number}")
        name = list(KINDS)[number % len(KINDS)]
        made = KINDS[name](rng, photo)
        return name, send(address, Attack(made.content.replace(b"MODEL", model.encode()), made.slow, made.pause_s))

    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(send_one, range(n)))


def send(address: Address, one: Attack) -> int:
    """Send an attack, and return the status of the answer, or 0 if the connection is closed without one."""
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        try:
            connection.sendall(one.content[: len(one.content) - one.slow])
            for place in range(len(one.content) - one.slow, len(one.content)):
                time.sleep(one.pause_s)
                connection.sendall(one.content[place : place + 1])
        except OSError:  # refused before everything was sent
            pass
        try:
            answer = connection.recv(65_536)
        except OSError:
            return 0
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 2 and words[1].isdigit() else 0
