"""`cnncli show`: filters, feature maps, strongest activations, top images and preferred inputs of a run's network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.config.reader import cache_settings, load_resolved
from cnncli.config.schema import Config
from cnncli.dataset.manifest import Manifest
from cnncli.dataset.records import ImageRecord
from cnncli.engines.build import build_engine, graphs_in_use
from cnncli.engines.engine import EngineChoice
from cnncli.errors import ConfigError, CutError, ImageError, Message, printable
from cnncli.explanation.attribution import layers_with_maps, map_layers, require_map_layer
from cnncli.explanation.gradient_rules import Rule
from cnncli.explanation.units import (
    PREFERRED_STEPS,
    FeatureMaps,
    deconvolve,
    feature_maps,
    first_filters,
    preferred_inputs,
    response_of,
    rule_of,
)
from cnncli.features.extract import Extraction, Trunk
from cnncli.features.store import FeatureStore
from cnncli.images.bands import preview
from cnncli.images.decode import decode
from cnncli.inference.embeddings import Embedding
from cnncli.inference.predictor import load_spec
from cnncli.inference.spec import PredictorSpec
from cnncli.networks.backend import import_keras, standard_settings
from cnncli.networks.classifier import load_classifier
from cnncli.networks.fingerprint import fingerprint
from cnncli.networks.graph import output_of
from cnncli.report.contact_sheet import SheetRow, draw_contact_sheet, draw_tiles
from cnncli.report.explanation_figure import show_gradients
from cnncli.report.figures import quiet_matplotlib
from cnncli.runs.folder import RunFolder
from cnncli.runs.listing import require_finished
from cnncli.storage.atomic import output_path
from cnncli.storage.cache_dir import FEATURES, GRAPHS, make_cache_dir
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent

if TYPE_CHECKING:
    import keras

MAX_FILTERS, MAX_MAPS = 256, 64
"""Maximum number of filters and of feature maps on a sheet."""
MAX_LAYERS, STRONGEST = 12, 8
"""Number of layers on the sheet of activations, and of the channels of each."""
CHANNELS, TOP_IMAGES = 6, 4
"""Number of channels on the sheet of top images by default, and of the images of each."""
RULES = {"deconvolution": "deconvolution", "guided": "guided gradients"}
"""Headings beside the top images."""
MAX_CLASSES = 16
"""Number of classes whose preferred inputs are drawn by default."""
TILE = 112
"""Side in pixels to which small maps are enlarged."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ShownNetwork:
    """The network of a finished run as a Keras model, with its images."""

    run: RunFolder
    config: Config
    spec: PredictorSpec
    model: keras.Model

    @classmethod
    @standard_settings()
    def of(cls, run: RunFolder) -> ShownNetwork:
        """Load the network. Raises RunError if the run is unfinished or damaged."""
        require_finished(run)
        config, spec = load_resolved(run.config), load_spec(run.engine)
        config = config.model_copy(update={"cache": cache_settings(config.cache)})
        return cls(run, config, spec, load_classifier(run.model, spec.pretrained).model)

    @cached_property
    def manifest(self) -> Manifest:
        """The images of the run."""
        return Manifest.from_csv(self.run.manifest)

    def image(self, path: Path | None) -> tuple[str, Pixels]:
        """Return the name and the pixels of an image, by default of the first test, validation or training image.

        Raises:
            ImageError: It cannot be used.
        """
        if path is None:
            path = next(
                rows[0].path for split in ("test", "validation", "train") if (rows := self.manifest.split(split))
            )
        return printable(path.name), decode(path, self.spec.pixels)

    def title(self, what: str) -> str:
        """Return the title of a sheet."""
        return f"{printable(self.run.path.name)}: {what}"


def show_filters(run: RunFolder, out: Path) -> Path:
    """Draw the filters of the first convolution as a PNG, and return its path.

    Filters with one, three or four channels are drawn in color, each from its smallest to its largest weight.

    Raises:
        CutError: The network has no convolution.
        CnncliError: The path is not that of a PNG, or its folder does not exist.
    """
    path, network = output_path(out, (".png",)), ShownNetwork.of(run)
    name, kernels = first_filters(network.model)
    n, height, width, channels = kernels.shape
    tiles = [(f"{number}", _stretched(kernel)) for number, kernel in enumerate(kernels[:MAX_FILTERS])]
    small_print = f"{name}: {n} filters of {height}×{width}×{channels}"
    draw_tiles(tiles, network.title("filters of the first convolution"), small_print, path, _columns(len(tiles)))
    return path


def show_feature_maps(run: RunFolder, out: Path, image: Path | None = None, layer: str | None = None) -> Path:
    """Draw the maps of a layer for an image, each before (left) and after its activation, and return the path.

    By default, the layer is the first convolution. Before the activation, red is above and blue below 0.

    Raises:
        CutError: There is no such layer, or it has no maps.
        ImageError: The image cannot be used.
        CnncliError: The path is not that of a PNG, or its folder does not exist.
    """
    path, network = output_path(out, (".png",)), ShownNetwork.of(run)
    layer = require_map_layer(network.model, layer or first_filters(network.model)[0])
    name, pixels = network.image(image)
    (maps,) = feature_maps(network.model, [layer], pixels)
    shown = sorted(maps.strongest[:MAX_MAPS].tolist())
    tiles = [(f"channel {k}" if maps.after[..., k].any() else f"channel {k}: all 0", _pair(maps, k)) for k in shown]
    rows, columns, n = maps.after.shape
    sides = "before | after the activation" if maps.before is not None else "no activation"
    small_print = f"{name} · {rows}×{columns} × {n} channels, {len(shown)} shown · {sides}"
    draw_tiles(tiles, network.title(f"feature maps of {layer}"), small_print, path, _columns(len(tiles), 2))
    return path


def show_activations(
    run: RunFolder, out: Path, image: Path | None = None, layers: Sequence[str] = ()
) -> tuple[Path, list[dict[str, Any]]]:
    """Draw the strongest channels of some layers for an image, and return the path and facts about each layer.

    By default, up to 12 layers with an activation are spread over the network. The facts are the size of the output,
    the fraction of zeros, and the strongest channels.

    Raises:
        CutError: There is no such layer, or the network has no maps.
        ImageError: The image cannot be used.
        CnncliError: The path is not that of a PNG, or its folder does not exist.
    """
    path, network = output_path(out, (".png",)), ShownNetwork.of(run)
    model = network.model
    chosen = [require_map_layer(model, one) for one in layers] or _spread(layers_with_maps(model, activated=True))
    if not chosen:
        raise CutError(Message("cut-no-maps", "The network has no layer with maps.", key="layer"))
    name, pixels = network.image(image)
    found = feature_maps(model, chosen, pixels)
    rows, facts = [], []
    for maps in found:
        height, width, n = maps.after.shape
        zeros, strongest = float((maps.after == 0).mean()), maps.strongest[:STRONGEST].tolist()
        facts.append(
            {"layer": maps.layer, "shape": [height, width, n], "zeros": zeros, "strongest_channels": strongest}
        )
        tiles = [_enlarged(_heat(maps.after[..., k])) for k in strongest]
        tiles += [np.full((TILE, TILE, 3), 255, np.uint8)] * (STRONGEST - len(tiles))
        detail = f"{height}×{width}×{n}, zeros {percent(zeros)}"
        rows.append(SheetRow(maps.layer, detail, [_enlarged(preview(pixels)), *tiles]))
    columns = ("image", "strongest", *(f"{k}." for k in range(2, STRONGEST + 1)))
    draw_contact_sheet(rows, columns, network.title("strongest activations"), name, path)
    return path, facts


def show_top_images(
    run: RunFolder, out: Path, console: Console, layer: str | None = None, channels: Sequence[int] = ()
) -> tuple[Path, list[dict[str, Any]]]:
    """Draw the training images that most activate channels of a layer, each with its deconvolution beside it.

    By default, the layer is the last one with maps, and the channels are those that respond most selectively. In a
    network without max pooling, guided gradients replace the deconvolution; see `rule_of`. The tiles of images that
    were deleted after their responses were cached are empty.

    Returns:
        The path, and for each channel its images with the largest response of each.

    Raises:
        CutError: There is no such layer, or it has no maps.
        ConfigError: There is no such channel.
        DataError: Images cannot be decoded or have changed.
        CnncliError: The path is not that of a PNG, or its folder does not exist.
    """
    path, network = output_path(out, (".png",)), ShownNetwork.of(run)
    layer = require_map_layer(network.model, layer or _last_map_layer(network.model))
    images = network.manifest.split("train")
    responses = _responses(network, layer, images, console)
    numbers = _checked(channels, responses.shape[1], layer) or _selective(responses)
    rule = rule_of(network.model)
    rows, facts = [], []
    for k in numbers:
        top = np.argsort(-responses[:, k], kind="stable")[:TOP_IMAGES]
        pairs = _projected(network, layer, k, [images[n].path for n in top], rule)
        labels = ", ".join(dict.fromkeys(images[n].label for n in top))
        rows.append(SheetRow(f"channel {k}", printable(labels), [pixels for pair in pairs for pixels in pair]))
        facts.append(
            {
                "channel": k,
                "images": [{"path": images[n].file, "response": float(responses[n, k])} for n in top],
            }
        )
    headings = [heading for n in range(1, len(rows[0].images) // 2 + 1) for heading in (f"{n}.", RULES[rule])]
    small_print = f"{layer} · the {len(images):,} training images"
    draw_contact_sheet(rows, headings, network.title("images that most activate a channel"), small_print, path)
    return path, facts


def _responses(
    network: ShownNetwork, layer: str, images: Sequence[ImageRecord], console: Console
) -> NDArray[np.float32]:
    """Return the largest response of each channel of a layer to each image, (n, channels), which is cached."""
    keras, cache = import_keras(), make_cache_dir()
    model = network.model
    with standard_settings():
        largest = keras.layers.GlobalMaxPooling2D(name="largest")(response_of(model, layer))
        trunk = keras.Model(model.inputs, largest, name="trunk")
    name = fingerprint(trunk)
    with graphs_in_use(cache / GRAPHS), FeatureStore(cache / FEATURES, network.config.cache.max_bytes) as store:
        engine, _ = build_engine(trunk, name, EngineChoice("openvino", "float32"), cache / GRAPHS)
        extraction = Extraction((Trunk(engine, name, "the run's network", f"maxima of {layer}"),), network.spec.pixels)
        return Embedding(extraction, store).of_rows(images, console)


def _projected(
    network: ShownNetwork, layer: str, channel: int, paths: Sequence[Path], rule: Rule
) -> list[Sequence[Pixels]]:
    """Return each image with its deconvolution; both are white for an image that cannot be decoded."""
    spec, decoded = network.spec.pixels, dict[int, Pixels]()
    for place, path in enumerate(paths):
        with suppress(ImageError):
            decoded[place] = decode(path, spec)
    white = np.full((spec.height, spec.width, 3), 255, np.uint8)
    pairs: list[Sequence[Pixels]] = [(white, white)] * len(paths)
    if decoded:
        projections, _ = deconvolve(network.model, layer, channel, np.stack([*decoded.values()]), rule)
        for (place, pixels), projection in zip(decoded.items(), projections, strict=True):
            pairs[place] = preview(pixels), show_gradients(projection)
    return pairs


def _selective(responses: NDArray[np.float32]) -> list[int]:
    """Return the channels whose largest responses stand out most from the others."""
    top = np.sort(responses, axis=0)[-TOP_IMAGES:].mean(axis=0)
    contrast = (top - responses.mean(axis=0)) / np.maximum(responses.std(axis=0), 1e-6)
    return [int(k) for k in np.argsort(-contrast, kind="stable")[:CHANNELS]]


def _checked(channels: Sequence[int], n: int, layer: str) -> list[int]:
    if wrong := [k for k in channels if not 0 <= k < n]:
        text = f"--channel {wrong[0]}: {layer} has the channels 0 to {n - 1}."
        raise ConfigError(Message("usage-channel-unknown", text, key="channel", received=wrong[0], expected=n - 1))
    return list(channels)


def show_preferred_inputs(
    run: RunFolder,
    out: Path,
    console: Console,
    layer: str | None = None,
    channels: Sequence[int] = (),
    steps: int = PREFERRED_STEPS,
) -> Path:
    """Draw the images that the classes, or channels of a layer, prefer, found by activation maximization.

    Without a layer, `channels` are numbers of classes.

    Raises:
        CutError: There is no such layer, or it has no maps.
        ConfigError: There is no such channel.
        CnncliError: The path is not that of a PNG, or its folder does not exist.
    """
    path, network = output_path(out, (".png",)), ShownNetwork.of(run)
    model, classes = network.model, network.spec.classes
    if layer is None:
        units = _checked(channels, len(classes), "the output") or list(range(min(MAX_CLASSES, len(classes))))
        names = [printable(classes[k]) for k in units]
    else:
        n = output_of(model, require_map_layer(model, layer)).shape[-1]
        units = _checked(channels, n, layer) or list(range(min(CHANNELS, n)))
        names = [f"channel {k}" for k in units]
    with standard_settings(), console.progress(steps, "maximizing activations", "steps") as progress:
        images = preferred_inputs(
            model,
            layer,
            units,
            steps,
            progress.advance,
            network.config.seed,
            is_multi_label=network.spec.is_multi_label,
        )
    tiles = list(zip(names, map(preview, images), strict=True))
    small_print = f"{layer or 'scores of the classes'} · {steps} steps"
    draw_tiles(tiles, network.title("preferred inputs"), small_print, path, min(4, len(tiles)))
    return path


def _last_map_layer(model: keras.Model) -> str:
    layers = map_layers(model)
    if not layers:
        raise CutError(Message("cut-no-maps", "The network has no layer with maps.", key="layer"))
    return layers[-1]


def _spread(names: Sequence[str]) -> list[str]:
    """Return up to `MAX_LAYERS` names, evenly spread from the first to the last."""
    places = np.unique(np.linspace(0, len(names) - 1, min(MAX_LAYERS, len(names))).round().astype(int))
    return [names[place] for place in places] if names else []


def _columns(n: int, width: int = 1) -> int:
    """Return a number of columns that makes a sheet of n tiles about as wide as high."""
    return max(4 // width, round(math.sqrt(n * 1.5 / width)))


def _stretched(kernel: NDArray[np.float32]) -> Pixels:
    """Return a filter (height, width, channels) from its smallest weight (0) to its largest (255)."""
    low, high = float(kernel.min()), float(kernel.max())
    return preview(((kernel - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8))


def _pair(maps: FeatureMaps, k: int) -> Pixels:
    """Return a map before and after the activation side by side, with a line between them, or only the map."""
    after = _enlarged(_heat(maps.after[..., k]))
    if maps.before is None:
        return after
    before = _enlarged(_signed(maps.before[..., k]))
    return np.hstack([before, np.full((len(after), 4, 3), 255, np.uint8), after])


def _heat(values: NDArray[np.float32]) -> Pixels:
    """Return a map in color, from its smallest value, or 0, to its largest."""
    low = min(0.0, float(values.min()))
    return _colored((values - low) / max(float(values.max()) - low, 1e-12), "magma")


def _signed(values: NDArray[np.float32]) -> Pixels:
    """Return a map in color around 0, blue below and red above."""
    return _colored(0.5 + values / (2 * max(float(np.abs(values).max()), 1e-12)), "RdBu_r")


def _colored(values: NDArray[np.float32], name: str) -> Pixels:
    with quiet_matplotlib():
        from matplotlib import colormaps
    return np.asarray(colormaps[name](values, bytes=True)[..., :3])


def _enlarged(pixels: Pixels) -> Pixels:
    """Return an image at the size of the tiles; enlarged pixels remain squares."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize(size, kind))
