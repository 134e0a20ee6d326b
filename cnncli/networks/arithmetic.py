"""Count sizes, receptive field, memory, parameters and multiply-adds of each layer, with the formula of each number.

Conventions: a multiply-add is one product with its addition. Convolutions and dense layers count their products without
biases; pooling counts the values it reads for each output, and has a separate sum; normalization, activations,
additions and other layers count as 0. Memory is that of the float32 outputs of one image, forward, in KB of 1,024
bytes. A padding layer is shown as padding of the convolutions and pooling that directly follow it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from cnncli.catalogue.windows import Pair, Window
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import nodes_in_order, replay
from cnncli.networks.receptive_field import (
    Field,
    Shape,
    field_formula,
    field_of,
    merge_fields,
    padding_of,
    sum_padding,
    window_of,
)
from cnncli.terminal.formatting import kilobytes

if TYPE_CHECKING:
    import keras

Kind = Literal["weights", "pooling", "other"]
"""Kind of a layer: convolution or dense layer, pooling, or neither."""

BYTES, KB = 4, 1024
"""Bytes of a float32, and of a KB."""

LRN = ("Divide", "Power", "Rescaling", "AveragePooling2D", "ZeroPadding2D", "Square")
"""Operations of local response normalization, the last one first; each takes the next one as its last input."""


@dataclass(frozen=True)
class LayerNumbers:
    """Numbers of a layer or operation of a graph.

    Attributes:
        name, type: Name and class.
        input_shape, output_shape: Shapes of the first input and the first output, without the batch.
        parameters: Number of parameters; 0 where a layer is used again.
        trainable: Whether it has weights that are trained.
        kind: See `Kind`.
        kernel, stride, padding, dilation: Window by (height, width), or None; padding has (before, after) for each.
        groups: Groups of channels of a convolution, or None. A depthwise convolution has one per input channel.
        receptive_field: Height and width of the pixels of the image that can influence an output by any of its paths;
            None between a layer that moves pixels, e.g. into patches, and one whose outputs depend on all of them.
        memory_kb: Memory of the outputs.
        biases: Number of parameters that are biases.
        multiply_adds: Number of multiply-adds for one image.
        inputs: Positions of the layers whose outputs it takes.
        formulas: The arithmetic of each number as text, e.g. `parameters`: `(5·5·3 + 1)·10 = 760`.
    """

    name: str
    type: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    trainable: bool
    kind: Kind
    kernel: Pair | None
    stride: Pair | None
    padding: tuple[Pair, Pair] | None
    dilation: Pair | None
    groups: int | None
    receptive_field: Pair | None
    memory_kb: float
    biases: int
    multiply_adds: int
    inputs: tuple[int, ...]
    formulas: Mapping[str, str]


@dataclass
class _Graph:
    """Facts about the tensors of a graph, by the id of a tensor, while its layers are counted."""

    fields: dict[int, Field] = field(default_factory=dict)
    padded: dict[int, tuple[Shape, tuple[Pair, Pair]]] = field(default_factory=dict)
    producers: dict[int, int] = field(default_factory=dict)
    counted: set[int] = field(default_factory=set)

    def add(self, outputs: Sequence[Any], position: int, reach: Field) -> None:
        """Add the outputs of the layer at a position, and their receptive field."""
        self.producers.update({id(tensor): position for tensor in outputs})
        self.fields.update({id(tensor): reach for tensor in outputs})


def count_layers(model: keras.Model) -> tuple[LayerNumbers, ...]:
    """Return the numbers of the layers of a functional model with one image as input, in graph order.

    Layers of nested models are listed one by one, and local response normalization, a graph of six operations, as one
    layer `LRN`. Maps have their channels last.
    """
    graph = _Graph()
    nodes = nodes_in_order(_flat(model))
    return _join_lrn([_count(node, position, graph) for position, node in enumerate(nodes)])


def count_multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of convolutions and dense layers of a functional model for one image."""
    return sum(layer.multiply_adds for layer in count_layers(model) if layer.kind == "weights")


def _flat(model: keras.Model) -> keras.Model:
    keras = import_keras()
    if not any(isinstance(operation, keras.Model) for operation in model.operations):
        return model
    inputs = [keras.Input(tensor.shape[1:], name=tensor.name) for tensor in model.inputs]
    return keras.Model(inputs, replay(model, inputs), name=model.name)


def _count(node: Any, position: int, graph: _Graph) -> LayerNumbers:
    """Return the numbers of a node, and add its outputs to what is known about the graph."""
    operation, outputs = node.operation, node.outputs
    inputs = list(node.input_tensors) or outputs
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    output_shape = tuple(outputs[0].shape[1:])
    unpadded, zeros = graph.padded.get(id(inputs[0]), (shapes[0], ((0, 0), (0, 0))))
    window = window_of(operation, shapes[0])
    shown = replace(window, padding=sum_padding(zeros, window.padding)) if window else None
    input_shape = unpadded if window else shapes[0]
    weights = [] if id(operation) in graph.counted else list(getattr(operation, "weights", ()))
    graph.counted.add(id(operation))
    parameters, biases = _size(weights), _size(weight for weight in weights if weight.name == "bias")
    kind, products = _multiply_adds(operation, shapes, output_shape, window)
    before = [graph.fields[id(tensor)] for tensor in inputs if id(tensor) in graph.fields]
    reach = field_of(operation, before, window, output_shape)
    memory = sum(math.prod(tensor.shape[1:]) for tensor in outputs) * BYTES / KB
    formulas = {
        "output": _output_formula(input_shape, output_shape, shown) if shown else "",
        "receptive_field": field_formula(merge_fields(before), window, reach)
        if window and before and reach.is_known
        else "",
        "memory": f"{_product(output_shape)}·{BYTES}/{KB:,} = {kilobytes(memory)} KB" if len(outputs) == 1 else "",
        "parameters": _parameters_formula(weights, parameters),
        "without_biases": _weights_formula(weights, parameters - biases) if biases else "",
        "multiply_adds": products,
    }
    graph.add(outputs, position, reach)
    if added := padding_of(operation):
        graph.padded.update({id(tensor): (unpadded, sum_padding(zeros, added)) for tensor in outputs})
    return LayerNumbers(
        name=operation.name,
        type=type(operation).__name__,
        input_shape=input_shape,
        output_shape=output_shape,
        parameters=parameters,
        trainable=bool(getattr(operation, "trainable_weights", ())),
        kind=kind,
        kernel=shown.size if shown else None,
        stride=shown.stride if shown else None,
        padding=shown.padding if shown else None,
        dilation=shown.dilation if shown else None,
        groups=_groups(operation, shapes[0]),
        receptive_field=reach.size if reach.is_known else None,
        memory_kb=memory,
        biases=biases,
        multiply_adds=_value(products),
        inputs=tuple(graph.producers[id(tensor)] for tensor in node.input_tensors),
        formulas={name: text for name, text in formulas.items() if text},
    )


def _join_lrn(layers: Sequence[LayerNumbers]) -> tuple[LayerNumbers, ...]:
    """Replace the operations of `layers.local_response_normalization` by one layer, whose memory is its output."""
    uses = Counter(source for layer in layers for source in layer.inputs)
    joined: dict[int, LayerNumbers] = {}
    inner: set[int] = set()
    for position, layer in enumerate(layers):
        path = [position]
        for kind in LRN:
            if layers[path[-1]].type != kind or not layers[path[-1]].inputs:
                break
            path.append(layers[path[-1]].inputs[-1])
        is_whole = len(path) == 1 + len(LRN) and path[-1] == layer.inputs[0]
        if is_whole and all(uses[source] == 1 for source in path[1:-1]):
            joined[position] = replace(layer, type="LRN", input_shape=layer.output_shape, inputs=(path[-1],))
            inner.update(path[1:-1])
    kept = [position for position in range(len(layers)) if position not in inner]
    place = {position: n for n, position in enumerate(kept)}
    found = [joined.get(position, layers[position]) for position in kept]
    return tuple(replace(layer, inputs=tuple(place[source] for source in layer.inputs)) for layer in found)


def _size(weights: Iterable[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


# Multiply-adds.


def _multiply_adds(operation: Any, inputs: Sequence[Shape], output: Shape, window: Window | None) -> tuple[Kind, str]:
    """Return the kind of an operation and the formula of its multiply-adds, empty if it has none."""
    name = type(operation).__name__
    if window is not None and hasattr(operation, "kernel_size"):
        return "weights", _with_result(_convolution_products(operation, inputs[0], output, window))
    if window is not None:
        places = inputs[0] if name.startswith("Global") else (*output, *window.size)
        return "pooling", _with_result(_product(places))
    if name == "Dense":
        return "weights", _with_result(_product((*output[:-1], inputs[0][-1], output[-1])))
    if name == "EinsumDense":
        return "weights", _with_result(_einsum(operation.equation, [inputs[0], operation.kernel.shape]))
    if name == "MultiHeadAttention":
        return "weights", _with_result(_attention_products(operation, inputs))
    if name == "Matmul":
        return "weights", _with_result(_product((*output, inputs[0][-1])))
    return "other", ""


def _convolution_products(operation: Any, shape: Shape, output: Shape, window: Window) -> str:
    multiplier = getattr(operation, "depth_multiplier", None)
    if multiplier is None:
        inputs = shape[-1] // (getattr(operation, "groups", 1) or 1)
        return _product((*output, *window.size, inputs))
    depthwise = _product((*output[:-1], shape[-1] * multiplier, *window.size))
    if not hasattr(operation, "filters") or operation.filters is None:
        return depthwise
    return f"{depthwise} + {_product((*output[:-1], shape[-1] * multiplier, output[-1]))}"


def _einsum(equation: str, shapes: Sequence[Shape]) -> str:
    """Return the product of all dimensions of an einsum, such as `ab,bc->ac` for (batch, 3) and (3, 2); batch is 1."""
    sizes: dict[str, int] = {}
    for letters, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        names = letters.replace("...", "")
        sizes |= dict(zip(reversed(names), reversed(shape), strict=False))
    return _product(sizes.values())


def _attention_products(operation: Any, inputs: Sequence[Shape]) -> str:
    """Return the products of four projections, of queries with keys, and of weights with values."""
    (queries, width), (keys, key_width) = inputs[0], inputs[-1]
    heads, key, value = operation.num_heads, operation.key_dim, operation.value_dim
    return " + ".join(
        (
            _product((queries, width, heads, key)),
            _product((keys, key_width, heads, key)),
            _product((keys, key_width, heads, value)),
            _product((queries, keys, heads, key)),
            _product((queries, keys, heads, value)),
            _product((queries, heads, value, width)),
        )
    )


def _groups(operation: Any, shape: Shape) -> int | None:
    if not hasattr(operation, "kernel_size") or len(shape) != 3:
        return None
    return shape[-1] if getattr(operation, "depth_multiplier", None) else int(getattr(operation, "groups", 1) or 1)


# Formulas.


def _product(factors: Iterable[int]) -> str:
    return "·".join(f"{factor:,}" for factor in factors) or "1"


def _with_result(formula: str) -> str:
    return f"{formula} = {evaluate(formula):,}"


def evaluate(formula: str) -> int:
    """Return the value of a sum of products.

    >>> evaluate("3·3·1,024 + 2")
    9218
    """
    return sum(math.prod(int(factor.replace(",", "")) for factor in term.split("·")) for term in formula.split(" + "))


def _value(formula: str) -> int:
    return int(formula.rpartition("= ")[2].replace(",", "")) if formula else 0


def _output_formula(shape: Shape, output: Shape, window: Window) -> str:
    """Return (W − F + P)/S + 1 of height and width, or of both in one where they are equal."""
    texts = [
        side_formula(n, extent, zeros, step)
        for n, extent, zeros, step in zip(shape, window.extent, window.padding, window.stride, strict=False)
    ]
    sizes = (output[0], output[1]) if len(output) == 3 else (1, 1)
    texts = [f"{text} = {size}" for text, size in zip(texts, sizes, strict=True)]
    return texts[0] if texts[0] == texts[1] else f"height {texts[0]}, width {texts[1]}"


def side_formula(n: int, extent: int, zeros: Pair, stride: int) -> str:
    """Return (W − F + P)/S + 1, rounded down where it is not an integer.

    >>> side_formula(32, 5, (2, 2), 1), side_formula(6, 3, (0, 0), 2)
    ('(32 − 5 + 2·2)/1 + 1', '⌊(6 − 3)/2⌋ + 1')
    """
    before, after = zeros
    padding = "" if zeros == (0, 0) else f" + 2·{before}" if before == after else f" + {before} + {after}"
    is_whole = (n - extent + before + after) % stride == 0
    quotient = f"({n} − {extent}{padding})/{stride}"
    return f"{quotient if is_whole else f'⌊{quotient}⌋'} + 1"


def _parameters_formula(weights: Sequence[Any], parameters: int) -> str:
    """Return the formula of all parameters: (F·F·C + 1)·K where each of K outputs has a bias."""
    if not weights:
        return ""
    kernels = [weight for weight in weights if weight.name != "bias"]
    if len(kernels) == 1 and len(weights) == 2 and weights[1].shape == kernels[0].shape[-1:]:
        *inputs, outputs = kernels[0].shape
        return f"({_product(inputs)} + 1)·{outputs:,} = {parameters:,}"
    if len(kernels) == 1 and len(weights) == 2 and len(kernels[0].shape) == 4:
        *places, inputs, outputs = kernels[0].shape
        if weights[1].shape == (*places, outputs):  # locally connected
            return f"{_product(places)}·({inputs:,} + 1)·{outputs:,} = {parameters:,}"
    return _weights_formula(weights, parameters, with_biases=True)


def _weights_formula(weights: Sequence[Any], total: int, *, with_biases: bool = False) -> str:
    """Return the sum of the sizes of weights; equal terms are multiplied."""
    chosen = [weight for weight in weights if with_biases or weight.name != "bias"]
    # The last dimension of a depthwise kernel is the number of filters per channel.
    shapes = [weight.shape[:-1] if weight.shape[-1:] == (1,) else weight.shape for weight in chosen]
    terms = Counter(map(_product, shapes))
    text = " + ".join(f"{n}·{term}" if n > 1 else term for term, n in terms.items())
    return f"{text} = {total:,}"
