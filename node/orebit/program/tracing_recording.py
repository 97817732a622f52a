"""A quicker way for make_fx to note an ordinary operation.

Torch's own way takes some 0.3 ms an operation, most of it for what is never met here: symbolic shapes, fake tensors,
constants to be folded, subclasses. A recurrence over a thousand steps has a hundred thousand operations. Whatever is
not ordinary is left to torch's own way, so a graph is the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
import torch.fx.traceback as fx_traceback
from torch import fx
from torch._ops import OpOverload
from torch.fx._lazy_graph_module import _use_lazy_graph_module
from torch.fx.experimental import proxy_tensor
from torch.fx.passes.shape_prop import TensorMetadata
from torch.nn import Parameter

aten = torch.ops.aten
_TENSORS = (torch.Tensor, Parameter)
_PLAIN_TYPES = frozenset(
    (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
)
# What torch's own way treats apart.
_APART = frozenset(
    (
        aten.lift_fresh.default,
        aten.is_nonzero.default,
        aten.size.default,
        aten.stride.default,
        aten.storage_offset.default,
    )
)


class _Unusual(Exception):
    """An argument that is left to torch's own way."""


@contextmanager
def recording() -> Iterator[None]:
    """Within, make_fx notes operations quickly and makes no code of its graphs before they are called."""
    slowly = proxy_tensor.proxy_call

    def call(mode: Any, func: Any, pre_dispatch: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        node = _noted(mode, func, pre_dispatch, args, kwargs)
        if node is None:
            return slowly(mode, func, pre_dispatch, args, kwargs)
        made = func(*args, **kwargs)
        proxy = fx.Proxy(node, mode.tracer)
        if type(made) is torch.Tensor and not made.is_sparse:
            node.meta["val"] = None
            node.meta["tensor_meta"] = _described(made)
            mode.tracer.tensor_tracker[made] = proxy_tensor._ProxyTensor(proxy, None)
        else:
            proxy_tensor.track_tensor_tree(made, proxy, constant=None, tracer=mode.tracer)
        return made

    with (
        patch.object(proxy_tensor, "proxy_call", call),
        # Nodes get no fake tensor of what they make: nobody looks at it.
        patch.object(proxy_tensor, "extract_val", lambda value, include_real=False: None),
        _use_lazy_graph_module(True),
    ):
        yield


def _noted(mode: Any, func: Any, pre_dispatch: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node | None:
    """The operation's node; None where it is not ordinary."""
    name = None if pre_dispatch or func in mode.decomposition_table else _ordinary(func)
    if name is None or fx_traceback.get_current_replay_node() is not None:
        return None
    find: Callable[[Any], Any] = mode.tracer.tensor_tracker.get
    try:
        given = tuple([_argument(argument, find) for argument in args])
        named = {key: _argument(argument, find) for key, argument in kwargs.items()}
    except _Unusual:
        return None
    node = _new_node(mode.tracer.graph, func, given, named, name)
    if fx_traceback.has_preserved_node_meta():
        custom = fx_traceback.get_current_meta().get("custom")
        if custom is not None:
            node.meta["custom"] = dict(custom)
    return node


def _new_node(graph: fx.Graph, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], candidate: str) -> fx.Node:
    """As Graph.create_node, which looks for symbolic numbers among the arguments too."""
    name = graph._graph_namespace.create_name(candidate, None)
    node = fx.Node(graph, name, "call_function", func, args, kwargs)
    graph._graph_namespace.associate_name_with_obj(name, node)
    graph._insert(node)
    graph._find_nodes_lookup_table.insert(node)
    graph._len += 1
    return node


def replay(graph: fx.GraphModule, arguments: Sequence[Any]) -> Any:
    """Runs a recorded graph as fx.Interpreter does; operations keep the lines of the user's code that they had."""
    values: dict[fx.Node, Any] = {}
    remaining = iter(arguments)
    last: dict[fx.Node, fx.Node] = {source: node for node in graph.graph.nodes for source in node.all_input_nodes}
    freed: dict[fx.Node, list[fx.Node]] = {}
    for source, node in last.items():
        freed.setdefault(node, []).append(source)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(remaining)
        elif node.op == "get_attr":
            values[node] = getattr(graph, str(node.target))
        elif node.op == "output":
            return fx.node.map_arg(node.args[0], values.__getitem__)
        else:
            fx_traceback.current_meta["custom"] = node.meta.get("custom", {})
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
        for source in freed.get(node, ()):
            del values[source]
    raise AssertionError("a recorded graph ends in its output")


@cache
def _ordinary(func: Any) -> str | None:
    """The name that nodes of an operation get; None for one that is not ordinary."""
    if not isinstance(func, OpOverload) or func in _APART or torch.Tag.data_dependent_output in func.tags:
        return None
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    schema = func._schema
    full_name = f"{schema.name}.{schema.overload_name}" if schema.overload_name else schema.name
    if torch._C._dispatch_has_kernel_for_dispatch_key(full_name, composite):
        return None
    name: str = func.overloadpacket.__name__
    return fx.Graph()._target_to_str(name)


def _argument(argument: Any, find: Callable[[Any], Any]) -> Any:
    kind = type(argument)
    if kind in _TENSORS:
        slot = find(argument)
        if slot is None or slot.constant is not None:
            raise _Unusual
        return slot.proxy.node
    if kind in _PLAIN_TYPES:
        return argument
    if kind is list or kind is tuple:
        return kind([_argument(part, find) for part in argument])
    if kind is torch.Size:
        return tuple(argument)
    raise _Unusual


def _described(made: torch.Tensor) -> TensorMetadata:
    """Type and shape: what lowering looks at."""
    return TensorMetadata(made.shape, made.dtype, made.requires_grad, (), None, False, {})
