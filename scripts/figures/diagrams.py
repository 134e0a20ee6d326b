"""Diagrams of how cnncli works: the cut through a classifier, and the flow of data through training."""

from __future__ import annotations

from scripts.figures.svg import Drawing, Variant


def cut_svg(variant: Variant) -> str:
    """Return the diagram of the cut: a frozen trunk that runs once, cached features, a tail trained every epoch."""
    drawing = Drawing(
        760, 268, "A classifier is cut into a frozen trunk, which runs once per image, and a trained tail.", variant
    )
    drawing.text(380, 22, "classifier: RGB pixels in, class scores out", size=14, faint=True)
    blocks = [("preprocess", 16, 104), ("block 1", 126, 80), ("block 2", 212, 80), ("block 3", 298, 80)]
    for name, x, width in blocks:
        drawing.box(x, 36, width, 44, "frozen")
        drawing.text(x + width / 2, 63, name)
    for name, x, width in [("block 4", 450, 96), ("block 5", 552, 96), ("head", 654, 90)]:
        drawing.box(x, 36, width, 44, "trained")
        drawing.text(x + width / 2, 63, name)
    drawing.line(414, 30, 414, 130, dashed=True, kind="trained")
    drawing.text(414, 148, "cut", bold=True)
    drawing.text(197, 106, "trunk: frozen", bold=True)
    drawing.text(597, 106, "tail: trained", bold=True)
    steps = [
        ("images", "and their views", 16, 148, "plain"),
        ("run the trunk", "once per image", 194, 156, "frozen"),
        ("feature cache", "shared by all runs", 380, 150, "stored"),
        ("train the tail", "every epoch", 560, 184, "trained"),
    ]
    for title, note, x, width, kind in steps:
        drawing.box(x, 176, width, 62, kind)
        drawing.text(x + width / 2, 202, title, bold=True)
        drawing.text(x + width / 2, 223, note, size=12.5, faint=True)
    for x in (164, 350, 530):
        drawing.line(x + 3, 207, x + 28, 207, arrow=True)
    drawing.text(380, 260, "The second run with the same trunk starts at the feature cache.", size=12.5, faint=True)
    return drawing.svg()


FLOW = (
    ("Config", "config/", "settings", "plain"),
    ("Manifest", "dataset/", "image records", "stored"),
    ("Classifier", "networks/", "Keras graph", "frozen"),
    ("Cut", "networks/", "trunk + tail", "frozen"),
    ("Features", "features/", "computed once", "stored"),
    ("Run", "training/", "best weights", "trained"),
    ("Metrics", "inference/", "n, interval", "result"),
)


def flow_svg(variant: Variant) -> str:
    """Return the diagram of the objects that training creates, in order."""
    width, gap = 100, 18
    drawing = Drawing(
        len(FLOW) * (width + gap) + 10, 104, "Config, Manifest, Classifier, Cut, Features, Run, Metrics.", variant
    )
    for number, (title, package, note, kind) in enumerate(FLOW):
        x = 12 + number * (width + gap)
        drawing.box(x, 12, width, 78, kind)
        drawing.text(x + width / 2, 36, title, bold=True)
        drawing.text(x + width / 2, 57, package, size=12, mono=True)
        drawing.text(x + width / 2, 77, note, size=11, faint=True)
        if number:
            drawing.line(x - gap + 1, 51, x - 1, 51, arrow=True)
    return drawing.svg()
