"""Write a small finished run and weights files without training, as raw material for hostile files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.config.writer import dump_config
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.images.verify import ImageFacts
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from cnncli.runs.folder import RunFolder, create_run, end_run
from cnncli.storage.atomic import write_atomically
from tests.fault_injection.sandbox import FORBIDDEN, run_sandboxed

CLASSES = ("dots", "stripes")
SIZE_PX = 16
PLACEHOLDER = "/placeholder"
"""Placeholder for the directory of the run in its files."""


def prepare_run(work: Path) -> Path:
    """Write a folder `here` with a run into the empty folder `work`, and a forbidden folder next to it."""
    base = work.parent / "base"
    if not (base / "run").is_dir():
        temporary = work.parent / f".base-{os.getpid()}"
        (temporary / "here").mkdir(parents=True, exist_ok=True)
        run_sandboxed(write_base, temporary / "here", temporary / "here", watched=False).require_harmless()
        (temporary / "here").rename(base)
        shutil.rmtree(temporary)
    here = work / "here"
    shutil.copytree(base, here)
    for name in ("config.yaml", "manifest.csv"):
        path = here / "run" / name
        path.write_text(path.read_text(encoding="utf-8").replace(PLACEHOLDER, str(here)), encoding="utf-8")
    (work / FORBIDDEN).mkdir()
    (work / FORBIDDEN / "secret.txt").write_text("secret\n", encoding="utf-8")
    with h5py.File(work / FORBIDDEN / "secret.h5", "w") as file:
        file["0"] = np.ones((3, 3, 3, 4), np.float32)
    return here


def base_config() -> Config:
    """Return the config of the run."""
    return config_from_mapping(
        {
            "name": "base",
            "mode": "fine-tuning",
            "data": {"path": f"{PLACEHOLDER}/images", "image_size": SIZE_PX},
            "backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [4, 8], "batch_norm": True}},
            "head": {"layers": [{"dense": 8}, {"dropout": 0.2}]},
        },
        environment={},
        check_paths=False,
    )


def write_base(folder: Path) -> None:
    """Write `run`, `images` and `weights.weights.h5` into a folder, in a process with TensorFlow."""
    from cnncli.engines.build import converted_graph
    from cnncli.inference.predictor import save_predictor
    from cnncli.inference.spec import PredictorSpec
    from cnncli.networks.classifier import build_classifier, save_classifier
    from cnncli.networks.cut import cut_classifier
    from cnncli.networks.fingerprint import fingerprint, hash_weights

    rows = _draw(folder)
    config = base_config()
    classifier = build_classifier(config, len(CLASSES))
    files = {"config.yaml": dump_config(config), "manifest.csv": rows, "classes.json": json.dumps(CLASSES)}
    facts = {"mode": config.mode, "initial_weights_sha256": hash_weights(classifier.model.layers)}
    made = create_run(folder / "runs", "base", {**files, "environment.json": "{}"}, None, facts)
    run = RunFolder(made.path.rename(folder / "run"))
    shutil.rmtree(folder / "runs")
    save_classifier(classifier, run.model)
    cut = cut_classifier(classifier, 1, "frozen")
    if cut.trunk is None:
        raise ValueError("the base run has a trunk")
    trunk = fingerprint(cut.trunk)
    spec = PredictorSpec(
        engine="openvino",
        precision="float32",
        tail_engine="openvino",
        trunk=trunk,
        unfreeze=1,
        batch_norm="frozen",
        pretrained=True,
        activation="softmax",
        classes=CLASSES,
        height=SIZE_PX,
        width=SIZE_PX,
        color="rgb",
        fit="stretch",
        max_pixels=178_000_000,
    )
    save_predictor(run.engine, spec, cut, [converted_graph(cut.trunk, trunk, folder / "graphs")])
    shutil.rmtree(folder / "graphs")
    _finish(run)
    classifier.model.save_weights(folder / "weights.weights.h5")


def _finish(run: RunFolder) -> None:
    arrays = {"moved/a/0": np.arange(6, dtype=np.float32).reshape(2, 3)}
    document: dict[str, Any] = {"history": [], "stages": [], "best": None, "lowered": [], "stage": None}
    Checkpoints(run.state).save(Checkpoint(document, arrays, is_between_epochs=True))
    write_atomically(run.metrics, "{}\n")
    end_run(run, "finished", {"metrics": {"validation": {"n": 4, "loss": 0.7, "top1": 0.5, "top1_ci95": [0.2, 0.8]}}})


def _draw(folder: Path) -> str:
    """Write noise images, and return their manifest."""
    random, rows = np.random.default_rng(0), []
    for split, count in (("test", 2), ("train", 3), ("validation", 2)):
        for label in CLASSES:
            for number in range(count):
                path = folder / "images" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
                data = path.read_bytes()
                digest = hashlib.sha256(data).hexdigest()
                place = path.as_posix().replace(folder.as_posix(), PLACEHOLDER, 1)
                rows.append(ImageRecord(place, (label,), split, ImageFacts(digest, len(data), 20, 20)))
    return Manifest(tuple(rows), CLASSES).csv_text()
