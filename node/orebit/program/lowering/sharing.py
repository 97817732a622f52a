"""Gradients of what is used many times: one contraction over all uses instead of a sum of many.

A weight that serves every step of a recurrence gets a sum of T products, and T - 1 additions. Contracted over time and
batch together it is one product, whose quantisation is shared too. Likewise its bias, an embedding that is read at
every step, and a sequence that is taken apart step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten
# From how many terms of one form on they are joined.
ENOUGH = 3
VIEWS = frozenset(
    {
        aten.t_copy.default,
        aten.t.default,
        aten.detach_copy.default,
        aten.detach.default,
        aten.view_copy.default,
        aten.view.default,
        aten.permute_copy.default,
        aten.transpose_copy.int,
    }
)
TRANSPOSES = (aten.t_copy.default, aten.t.default)


@dataclass(frozen=True)
class _Term:
    """One summand: an operation, and the views between it and the sum, outermost first."""

    core: fx.Node
    views: tuple[fx.Node, ...]

    @property
    def form(self) -> Hashable:
        """Equal for terms that can be joined."""
        views = tuple((str(view.target), repr(view.args[1:])) for view in self.views)
        shapes = tuple(_shape(argument) for argument in self.core.args if isinstance(argument, fx.Node))
        return str(self.core.target), _static(self.core), views, shapes


def share(graph: fx.GraphModule) -> None:
    """Joins the terms of long sums in a functional graph, in place."""
    changed = False
    for node in list(graph.graph.nodes):
        if _is_sum(node) and not _continues(node):
            changed = _join_terms(graph.graph, node) or changed
    if changed:
        graph.graph.eliminate_dead_code()


def _is_sum(node: fx.Node) -> bool:
    return (
        node.target is aten.add.Tensor
        and not node.kwargs
        and all(isinstance(argument, fx.Node) and _shape(argument) == _shape(node) for argument in node.args)
    )


def _continues(node: fx.Node) -> bool:
    """Whether this sum is but a part of a longer one."""
    return len(node.users) == 1 and _is_sum(next(iter(node.users)))


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    meta = node.meta.get("tensor_meta")
    return None if meta is None else tuple(meta.shape)


def _summands(root: fx.Node) -> list[fx.Node]:
    """From the last added to the first."""
    found: list[fx.Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if node is root or (_is_sum(node) and len(node.users) == 1):
            stack += [argument for argument in node.args if isinstance(argument, fx.Node)]
        else:
            found.append(node)
    return found


def _join_terms(graph: fx.Graph, root: fx.Node) -> bool:
    summands = _summands(root)
    if len(summands) < ENOUGH:
        return False
    groups: dict[Hashable, list[_Term]] = {}
    for number, node in enumerate(summands):
        term = _term(node)
        key: Hashable = ("alone", number) if term is None else term.form
        groups.setdefault(key, []).append(term or _Term(node, ()))
    if all(len(group) < ENOUGH for group in groups.values()):
        return False
    with graph.inserting_before(root):
        total: fx.Node | None = None
        for group in groups.values():
            parts = [_joined(graph, group)] if len(group) >= ENOUGH else [_outer(term) for term in group]
            for part in parts:
                total = part if total is None else _call(graph, aten.add.Tensor, (total, part), root)
    assert total is not None
    root.replace_all_uses_with(total)
    return True


def _outer(term: _Term) -> fx.Node:
    return term.views[0] if term.views else term.core


def _term(node: fx.Node) -> _Term | None:
    views: list[fx.Node] = []
    while node.target in VIEWS and len(node.users) == 1 and isinstance(node.args[0], fx.Node):
        views.append(node)
        node = node.args[0]
    if node.target not in JOINS or len(node.users) != 1 or (node.target is aten.select_backward.default and views):
        return None
    return _Term(node, tuple(views))


def _static(core: fx.Node) -> str:
    """The arguments that terms must share; the place of a selection is its own."""
    arguments = core.args[1:-1] if core.target is aten.select_backward.default else core.args
    return repr([argument for argument in arguments if not isinstance(argument, fx.Node)])


def _joined(graph: fx.Graph, group: Sequence[_Term]) -> fx.Node:
    made = JOINS[group[0].core.target](graph, [term.core for term in group])
    for view in reversed(group[0].views):
        made = _call(graph, view.target, (made, *view.args[1:]), view)
    return made


def _call(graph: fx.Graph, target: Any, arguments: tuple[Any, ...], like: fx.Node, **kwargs: Any) -> fx.Node:
    """A node whose result is of the type and shape of `like`'s."""
    node = graph.call_function(target, arguments, kwargs)
    node.meta = dict(like.meta)
    return node


def _concatenated(graph: fx.Graph, parts: Sequence[Any], dim: int) -> fx.Node:
    """One after another. Of transposes, the transpose of what they transpose: that is contiguous over time."""
    if all(part.target in TRANSPOSES for part in parts):
        inner = _concatenated(graph, [part.args[0] for part in parts], 1 - dim)
        made = _call(graph, aten.t_copy.default, (inner,), parts[0])
    else:
        made = _call(graph, aten.cat.default, (list(parts), dim), parts[0])
    shape = list(_shape(parts[0]) or ())
    shape[dim] *= len(parts)
    made.meta["tensor_meta"] = parts[0].meta["tensor_meta"]._replace(shape=torch.Size(shape))
    return made


def _products(graph: fx.Graph, cores: Sequence[fx.Node]) -> fx.Node:
    left = _concatenated(graph, [core.args[0] for core in cores], 1)
    right = _concatenated(graph, [core.args[1] for core in cores], 0)
    return _call(graph, aten.mm.default, (left, right), cores[0])


def _sums(graph: fx.Graph, cores: Sequence[fx.Node]) -> fx.Node:
    dims: Any = cores[0].args[1]
    source = cores[0].args[0]
    assert isinstance(source, fx.Node)
    dim = dims[0] % len(_shape(source) or ())
    joined = _concatenated(graph, [core.args[0] for core in cores], dim)
    return _call(graph, aten.sum.dim_IntList, (joined, *cores[0].args[1:]), cores[0], **cores[0].kwargs)


def _embeddings(graph: fx.Graph, cores: Sequence[fx.Node]) -> fx.Node:
    grads, indices = ([core.args[place] for core in cores] for place in (0, 1))
    arguments = (_concatenated(graph, grads, 0), _concatenated(graph, indices, 0), *cores[0].args[2:])
    return _call(graph, aten.embedding_dense_backward.default, arguments, cores[0])


def _selections(graph: fx.Graph, cores: Sequence[fx.Node]) -> fx.Node:
    """Each place's gradients summed, zeros where there is none, all put one after another."""
    shape: Any = cores[0].args[1]
    dim = cores[0].args[2] % len(shape)  # type: ignore[operator]  # an int by the operation's schema
    places: dict[int, fx.Node] = {}
    for core in cores:
        grad, index = core.args[0], core.args[3]
        assert isinstance(grad, fx.Node) and isinstance(index, int)
        place = index % shape[dim]
        known = places.get(place)
        places[place] = grad if known is None else _call(graph, aten.add.Tensor, (known, grad), grad)
    sample = next(iter(places.values()))
    missing = None
    if len(places) < shape[dim]:
        missing = _call(graph, aten.zeros_like.default, (sample,), sample)
    parts = []
    for place in range(shape[dim]):
        part = _call(graph, aten.unsqueeze_copy.default, (places.get(place, missing), dim), sample)
        parts.append(part)
    return _call(graph, aten.cat.default, (parts, dim), cores[0])


JOINS: dict[Any, Callable[[fx.Graph, Sequence[fx.Node]], fx.Node]] = {
    aten.mm.default: _products,
    aten.sum.dim_IntList: _sums,
    aten.embedding_dense_backward.default: _embeddings,
    aten.select_backward.default: _selections,
}
