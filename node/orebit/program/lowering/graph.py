"""The walk over a functional graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from orebit.errors import OrebitError, TraceError
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.empty import Empty, lower_without, mentions_empty
from orebit.program.lowering.registry import LOWERINGS
from orebit.program.lowering.sharing import share
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.views import program_type
from orebit.program.tracing_randomness import site_of

ADVICE = {
    "_grouped_mm": "route tokens at a fixed capacity, or multiply all by every expert (in transformers,"
    " experts_implementation='batched_mm')",
    "bincount": "use torch.zeros(count).scatter_add_(0, x, torch.ones(x.shape))",
    "linalg": "iterate a fixed number of products (Newton-Schulz), or give its result as data",
    "fft": "multiply by the matrix of cosines and sines, which may be a buffer",
    "view_as_complex": "keep real and imaginary parts in an axis of their own",
    "poisson": "draw it beforehand and give it as data",
    "gamma": "draw it beforehand and give it as data",
    "binomial": "sum draws of torch.bernoulli, or draw it beforehand and give it as data",
    "rrelu": "use leaky ReLU",
}


def lower_graph(
    lowering: Lowering,
    graph: fx.GraphModule,
    inputs: Sequence[Tensor],
    *,
    constant: Callable[[torch.Tensor], Tensor | Empty],
    scalar: Callable[[float, Callable[[int], Tensor]], Tensor | None],
    location: Callable[[fx.Node], str],
    results: int,
) -> list[Tensor]:
    """Nodes for every operation of `graph` that its outputs need.

    Args:
        lowering: receives the nodes.
        graph: functional aten operations.
        inputs: one a placeholder.
        constant: binds a tensor that the graph holds.
        scalar: the traced scalar that a number stands for, or None for a literal; it is given what answers with the
            graph's outputs beyond `results`, which Python read.
        location: file:line of the user's code behind a node.
        results: how many outputs are wanted.

    Raises:
        TraceError: for an operation without a lowering; names it, its place, and what to use instead.
    """
    share(graph)
    made: dict[fx.Node, Any] = {}
    remaining = iter(inputs)
    *_, output = graph.graph.nodes

    def number(value: float) -> Tensor | None:
        return scalar(value, lambda place: made[output.args[0][results + place]])

    for node in graph.graph.nodes:
        if node.op == "placeholder":
            made[node] = next(remaining)
        elif node.op == "get_attr":
            held = getattr(graph, str(node.target))
            # A generator is none of a draw's arguments here: its site says all.
            made[node] = constant(held.detach()) if isinstance(held, torch.Tensor) else None
        elif node.op == "output":
            return [made[result] for result in node.args[0][:results]]
        else:
            made[node] = _lower_node(lowering, node, made, number, location)
    raise TraceError("the traced step has no output; this is a bug in Orebit")


def _lower_node(
    lowering: Lowering,
    node: fx.Node,
    made: dict[fx.Node, Any],
    scalar: Callable[[float], Tensor | None],
    location: Callable[[fx.Node], str],
) -> Any:
    def resolve(argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return made[argument]
        if isinstance(argument, list | tuple):
            return [resolve(element) for element in argument]
        if isinstance(argument, float):
            traced = scalar(argument)
            return argument if traced is None else traced
        return argument

    arguments = [resolve(argument) for argument in node.args]
    named = {key: resolve(argument) for key, argument in node.kwargs.items()}
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    shape = _result_shape(node)
    if 0 in shape:
        return Empty(shape, program_type(_result_dtype(node) or torch.float32))
    function = LOWERINGS.get(node.target) if isinstance(node.target, OpOverload) else None
    if function is None:
        raise TraceError(f"{node.target} at {location(node)} has no lowering. Instead: {_advice(str(node.target))}.")
    try:
        dtype = _result_dtype(node)
        lowering.result_type = None if dtype is None else program_type(dtype)
        lowering.result_is_mask = dtype is torch.bool
        lowering.site = site_of(node)
        if mentions_empty([*arguments, *named.values()]):
            return lower_without(lowering, node.target, arguments, named, shape)
        return function(lowering, *arguments, **named)
    except OrebitError as error:
        raise TraceError(f"{node.target} at {location(node)} cannot be lowered: {error}") from error


def _result_dtype(node: fx.Node) -> torch.dtype | None:
    dtype = getattr(node.meta.get("tensor_meta"), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else None


def _result_shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _advice(name: str) -> str:
    for word, advice in ADVICE.items():
        if word in name:
            return advice
    return "write it with Linear layers, sums, means and elementwise operations, or give its result as data"
