"""Draw data/sample: cartoon heads of cats and dogs, the same bytes on every machine.

    python scripts/make_sample_data.py            draw the images
    python scripts/make_sample_data.py --check    compare the existing images with newly drawn ones
    python scripts/make_sample_data.py --labels   write the table of animals and furs of configs/course/two-labels.yaml

Every cat has a dog with the same background, colors, pose, light and JPEG quality, so that only the animal
distinguishes the two, and neither the mean color nor the size of the image or file. All randomness comes from NumPy's
RandomState, whose streams never change; only the last bits of the JPEGs depend on the version of Pillow.
"""

from __future__ import annotations

import argparse
import io
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parents[1] / "data" / "sample"
LABELS = FOLDER.parents[1] / "configs" / "course" / "two-labels.csv"
LIGHT = 340
"""Sum of red, green and blue from which on a fur is light."""
PILLOW = "13.0.0"
"""Version that drew the images in the repository."""
SEED = 20261121
PAIRS = {"train": 50, "validation": 20, "test": 50}
"""Number of cats, and of dogs, in each split. For 95 % of 100 test images, the Wilson interval is 88.8-97.8 %."""
SIZES_PX = range(88, 113)
"""Range of width and height."""
FINE = 4
"""Supersampling factor for smooth edges."""
MAX_BYTES = 4096
"""Maximum file size: one block of most disks."""

Animal = Literal["cat", "dog"]
Point = tuple[float, float]
Color = tuple[int, int, int]

FURS: Sequence[Color] = (
    (58, 54, 56), (92, 84, 80), (134, 126, 122), (196, 190, 184), (232, 226, 214), (222, 184, 132),
    (206, 140, 74), (176, 102, 52), (128, 78, 48), (88, 56, 40), (150, 116, 84), (112, 118, 130),
)  # fmt: skip
IRISES: Sequence[Color] = ((206, 178, 60), (120, 172, 76), (96, 158, 190), (166, 110, 52))
PINK: Color = (222, 142, 146)
WHITE: Color = (244, 242, 236)
DARK: Color = (38, 32, 34)


class Dice:
    """Random numbers for one purpose, from a fixed stream."""

    def __init__(self, *words: int) -> None:
        self._state = np.random.RandomState([SEED, *words])

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * float(self._state.random_sample())

    def either_side(self, size: float) -> float:
        """Return a number in [−size, size)."""
        return self.between(-size, size)

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.between(0, 1) < probability

    def one_of(self, things: Sequence[Color]) -> Color:
        """Return one of some colors."""
        return things[int(self.between(0, len(things)))]

    def bytes(self, *shape: int) -> NDArray[np.int64]:
        """Return integers in 0-255."""
        return self._state.randint(0, 256, shape).astype(np.int64)


class Pose:
    """Position, size and rotation of a head. Maps head coordinates, in which its radius is about 1, to pixels."""

    def __init__(self, dice: Dice, width: int, height: int) -> None:
        radius = min(width, height) * dice.between(0.19, 0.35)
        turn, lean = dice.either_side(0.6), dice.either_side(0.2)
        across, down = radius * dice.between(0.92, 1.08), radius * dice.between(0.92, 1.08)
        mirror = -1 if dice.chance(0.5) else 1
        self.look = dice.either_side(0.16)
        """Offset of the face to one side of the head."""
        self._centre = (width / 2 + dice.either_side(0.16 * width), height / 2 + dice.between(-0.1, 0.14) * height)
        cos, sin = math.cos(turn), math.sin(turn)
        self._x = (mirror * across * cos, across * lean - down * sin)
        self._y = (mirror * across * sin, down * cos)

    def __call__(self, x: float, y: float) -> tuple[int, int]:
        """Map a point of the head to pixels of the supersampled drawing."""
        px = self._centre[0] + self._x[0] * x + self._x[1] * y
        py = self._centre[1] + self._y[0] * x + self._y[1] * y
        return round(px * FINE), round(py * FINE)


class Pen:
    """Draws shapes in head coordinates, shifted horizontally by `shift`."""

    def __init__(self, canvas: Image.Image, pose: Pose) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._pose = pose
        self.shift = 0.0

    def shape(self, color: Color, points: Sequence[Point]) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([self._pose(x + self.shift, y) for x, y in points], fill=color)

    def oval(self, color: Color, x: float, y: float, across: float, down: float, turn: float = 0.0) -> None:
        """Draw a filled ellipse."""
        angles = [2 * math.pi * k / 40 for k in range(40)]
        cos, sin = math.cos(turn), math.sin(turn)
        circle = [(across * math.cos(a), down * math.sin(a)) for a in angles]
        self.shape(color, [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in circle])

    def line(self, color: Color, points: Sequence[Point], width: float) -> None:
        """Draw a line; `width` is in pixels of the final image."""
        path = [self._pose(x + self.shift, y) for x, y in points]
        self._draw.line(path, fill=color, width=max(1, round(width * FINE)), joint="curve")


def mix(one: Color, other: Color, fraction: float) -> Color:
    """Interpolate between two colors."""
    red, green, blue = (round(a + (b - a) * fraction) for a, b in zip(one, other, strict=True))
    return (red, green, blue)


def draw_cat(pen: Pen, dice: Dice, fur: Color, second: Color, look: float) -> None:
    """Draw pointed ears, slit pupils, a small pink nose and long whiskers."""
    dark, light = mix(fur, DARK, 0.4), mix(second, WHITE, 0.55)
    outer, tip = dice.between(0.88, 0.98), dice.between(1.45, 1.7)
    for side in (-1, 1):
        top = (side * dice.between(0.72, 0.86), -tip)
        pen.shape(fur, [(side * outer, -0.1), top, (side * 0.12, -0.74)])
        pen.shape(mix(PINK, fur, 0.25), [(side * 0.8, -0.42), (top[0] * 0.97, top[1] * 0.86), (side * 0.34, -0.7)])
    pen.oval(fur, 0, 0, 1.0, 0.86)
    for side in (-1, 1):
        pen.shape(
            fur, [(side * 0.8, 0.1), (side * 1.16, 0.42), (side * 0.9, 0.4), (side * 1.02, 0.62), (side * 0.5, 0.72)]
        )
    pen.shift = look
    if dice.chance(0.6):
        for x in (-0.26, 0.0, 0.26):
            pen.shape(dark, [(x - 0.07, -0.82), (x + 0.07, -0.82), (x * 0.8, -0.42)])
        for side in (-1, 1):
            pen.line(dark, [(side * 0.95, 0.05), (side * 0.68, 0.12)], 1.2)
            pen.line(dark, [(side * 0.97, 0.26), (side * 0.7, 0.28)], 1.2)
    iris, slit = dice.one_of(IRISES), dice.between(0.05, 0.09)
    for side in (-1, 1):
        pen.oval(DARK, side * 0.42, -0.1, 0.27, 0.21, side * -0.3)
        pen.oval(iris, side * 0.42, -0.1, 0.23, 0.18, side * -0.3)
        pen.oval(DARK, side * 0.42, -0.1, slit, 0.17)
        pen.oval(WHITE, side * 0.42 + 0.07, -0.17, 0.04, 0.04)
    for side in (-1, 1):
        pen.oval(light, side * 0.18, 0.42, 0.24, 0.19)
    pen.oval(light, 0, 0.58, 0.16, 0.13)
    pen.shape(mix(PINK, DARK, 0.15), [(-0.13, 0.2), (0.13, 0.2), (0, 0.34)])
    for side in (-1, 1):
        pen.line(DARK, [(0, 0.34), (0, 0.44), (side * 0.1, 0.53), (side * 0.24, 0.48)], 0.8)
        for k in range(3):
            end = (side * dice.between(1.15, 1.4), 0.2 + 0.24 * k + dice.either_side(0.07))
            pen.line(WHITE if sum(fur) < 420 else DARK, [(side * 0.22, 0.38 + 0.06 * k), end], 0.7)


def draw_dog(pen: Pen, dice: Dice, fur: Color, second: Color, look: float) -> None:
    """Draw floppy ears, round eyes, a large muzzle with a large dark nose, and sometimes a tongue."""
    dark, light = mix(fur, DARK, 0.4), mix(second, WHITE, 0.55)
    ear = dark if dice.chance(0.6) else mix(second, DARK, 0.2)
    pen.oval(fur, 0, -0.08, 0.84, 0.92)
    low, wide = dice.between(0.45, 0.85), dice.between(1.08, 1.26)
    if dice.chance(0.4):
        pen.oval(light, look, -0.55, 0.2, 0.45)
    for side in (-1, 1):
        drop = low + dice.either_side(0.08)
        rim = [(0.42, -0.9), (0.78, -0.84), (wide, -0.3), (wide + 0.04, drop - 0.25), (wide - 0.12, drop)]
        pen.shape(ear, [(side * x, y) for x, y in [*rim, (0.86, drop - 0.08), (0.74, -0.2), (0.6, -0.55)]])
    pen.shift = look
    if dice.chance(0.4):
        pen.oval(dark, 0.36, -0.2, 0.3, 0.32, 0.3)
    for side in (-1, 1):
        pen.oval(WHITE, side * 0.35, -0.2, 0.17, 0.17)
        pen.oval((70, 44, 30), side * 0.35, -0.19, 0.14, 0.15)
        pen.oval(DARK, side * 0.35, -0.19, 0.08, 0.09)
        pen.oval(WHITE, side * 0.35 + 0.05, -0.25, 0.04, 0.04)
        pen.line(dark, [(side * 0.5, -0.46), (side * 0.34, -0.5), (side * 0.22, -0.44)], 1.2)
    if dice.chance(0.55):
        pen.oval(mix(PINK, (200, 60, 70), 0.5), 0.06, 0.98, 0.18, 0.26)
    pen.oval(light, 0, 0.42, 0.54, 0.36)
    for side in (-1, 1):
        pen.oval(light, side * 0.26, 0.58, 0.32, 0.27)
    pen.oval(DARK, 0, 0.22, 0.23, 0.16)
    pen.oval((120, 112, 112), -0.07, 0.16, 0.06, 0.03)
    for side in (-1, 1):
        pen.line(DARK, [(0, 0.36), (0, 0.58), (side * 0.2, 0.74), (side * 0.44, 0.64)], 1.1)
        for k in range(3):
            pen.oval(dark, side * (0.24 + 0.1 * k), 0.5 + 0.05 * (k % 2), 0.02, 0.02)


def draw_background(dice: Dice, width: int, height: int) -> Image.Image:
    """Draw smooth clouds of two colors, and random polygons."""
    one, other = dice.bytes(3), dice.bytes(3)
    canvas = Image.new("RGB", (width * FINE, height * FINE))
    cells = int(dice.between(3, 14))
    weight = dice.bytes(cells, cells, 1)
    clouds = (one * (255 - weight) + other * weight + 127) // 255
    grain = np.clip(clouds + dice.bytes(cells, cells, 3) // 6 - 21, 0, 255).astype(np.uint8)
    canvas.paste(Image.fromarray(grain).resize(canvas.size, Image.Resampling.BICUBIC))
    for _ in range(int(dice.between(2, 7))):
        draw_polygon(canvas, dice, one)
    return canvas


def draw_polygon(canvas: Image.Image, dice: Dice, tint: NDArray[np.int64]) -> None:
    """Draw a regular polygon at a random place in a color similar to `tint`."""
    red, green, blue = (int(value) for value in (dice.bytes(3) + tint) // 2)
    x, y = dice.between(0, canvas.width), dice.between(0, canvas.height)
    size, start = dice.between(0.05, 0.2) * canvas.width, dice.between(0, 7)
    corners = 3 + 2 * int(dice.between(0, 5))
    angles = [start + 2 * math.pi * k / corners for k in range(corners)]
    outline = [(round(x + size * math.cos(a)), round(y + size * math.sin(a))) for a in angles]
    ImageDraw.Draw(canvas).polygon(outline, fill=(red, green, blue))


def draw_body(pen: Pen, dice: Dice, fur: Color) -> None:
    """Draw shoulders below the head, the same for both animals."""
    wide = dice.between(0.7, 1.1)
    pen.shape(
        mix(fur, DARK, 0.15), [(-0.5, 0.3), (0.5, 0.3), (wide, 1.3), (wide + 0.2, 4), (-wide - 0.2, 4), (-wide, 1.3)]
    )


def light_and_noise(image: Image.Image, scene: Dice, own: Dice) -> Image.Image:
    """Apply a light gradient, a color cast and noise in integer arithmetic."""
    pixels = np.asarray(image).astype(np.int64)
    height, width, _ = pixels.shape
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    slope_x, slope_y = round(scene.either_side(260)), round(scene.either_side(260))
    gain = 1000 + slope_x * (2 * x - width) // width + slope_y * (2 * y - height) // height
    cast = np.array([round(scene.between(860, 1120)) for _ in range(3)])
    strength = round(scene.between(6, 20))
    # The sum of four even numbers is nearly normal.
    noise = (sum(own.bytes(height, width, 1) for _ in range(4)) - 510) * strength // 148
    lit = pixels * gain // 1000 * cast // 1000 + noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def draw_image(split: int, index: int, animal: Animal) -> bytes:
    """Draw one animal as JPEG. Both animals of a pair share the scene."""
    scene, own = Dice(split, index), Dice(split, index, 1 if animal == "cat" else 2)
    width, height = (int(scene.between(SIZES_PX.start, SIZES_PX.stop)) for _ in range(2))
    canvas = draw_background(scene, width, height)
    fur, second = scene.one_of(FURS), scene.one_of(FURS)
    pose = Pose(scene, width, height)
    pen = Pen(canvas, pose)
    draw_body(pen, scene, fur)
    (draw_cat if animal == "cat" else draw_dog)(pen, own, fur, second, pose.look)
    if scene.chance(0.4):
        draw_polygon(canvas, scene, scene.bytes(3))
    finished = light_and_noise(canvas.reduce(FINE), scene, own)
    return encode(finished, round(scene.between(55, 88)))


def fur_of(split: int, index: int) -> Color:
    """Return the color of both animals of a pair, which is the first choice after the background."""
    scene = Dice(split, index)
    draw_background(scene, *(int(scene.between(SIZES_PX.start, SIZES_PX.stop)) for _ in range(2)))
    return scene.one_of(FURS)


def label_table() -> str:
    """Return a CSV with the image, its split, and the animal and the fur, light or dark, as its labels."""
    lines = ["image,split,labels"]
    for place, (split, pairs) in enumerate(PAIRS.items()):
        for index in range(pairs):
            fur = "light" if sum(fur_of(place, index)) >= LIGHT else "dark"
            lines += [f"{split}/{one}s/{one}.{index}.jpg,{split},{one};{fur}" for one in ("cat", "dog")]
    return "\n".join([*lines, ""])


def encode(image: Image.Image, quality: int) -> bytes:
    """Encode a JPEG with the highest quality, up to `quality`, at which it fits into `MAX_BYTES`."""
    while True:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MAX_BYTES:
            return file.getvalue()
        quality -= 1


def draw_all() -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of every file."""
    for place, (split, pairs) in enumerate(PAIRS.items()):
        for index in range(pairs):
            for animal in ("cat", "dog"):
                yield f"{split}/{animal}s/{animal}.{index}.jpg", draw_image(place, index, animal)


def differences(folder: Path) -> list[str]:
    """Return one line for each difference between a folder and newly drawn images."""
    drawn = dict(draw_all())
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [
        *(f"{name}: missing" for name in sorted(drawn.keys() - there.keys())),
        *(f"{name}: not part of the sample" for name in sorted(there.keys() - drawn.keys())),
        *(f"{name}: different bytes" for name in sorted(drawn.keys() & there.keys()) if drawn[name] != there[name]),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw or check the folder, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="output folder, which is replaced")
    parser.add_argument("--check", action="store_true", help="draw nothing; exit 1 if the folder would change")
    parser.add_argument("--labels", action="store_true", help="only write the table of labels")
    options = parser.parse_args(arguments)
    if options.labels:
        LABELS.write_text(label_table(), encoding="utf-8")
        return 0
    if PIL.__version__ != PILLOW:
        print(f"drawn with Pillow {PILLOW}, this is {PIL.__version__}: bytes may differ", file=sys.stderr)
    if options.check:
        found = differences(options.out)
        print("\n".join(found) or f"{options.out}: OK")
        return 1 if found else 0
    shutil.rmtree(options.out, ignore_errors=True)
    for name, data in draw_all():
        path = options.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
