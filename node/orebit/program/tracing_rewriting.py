"""Operations that are recorded as others while a step is traced: lists of tensors one by one, and assignments of one
value where a mask says so as selections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

aten = torch.ops.aten
# An overload whose name is a word of Python's cannot stand in the code that a graph is compiled to.
RANDOM_FROM = getattr(aten.random_, "from")
ASSIGNMENTS = (aten.index_put_, aten.index_put, aten._index_put_impl_, aten._unsafe_index_put)
# Of these, lists take by place what single tensors take by name.
BY_NAME = {"addcdiv": "value", "addcmul": "value"}
NOTHING = object()


def recorded(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What another operation, or several, make of it; NOTHING for one that is recorded as it is."""
    if func is RANDOM_FROM:
        return args[0].copy_(torch.randint(args[1], args[2], args[0].shape))
    name = func._schema.name
    if name.startswith("aten::_foreach_"):
        return _each(name.removeprefix("aten::_foreach_"), args, kwargs)
    if func.overloadpacket in ASSIGNMENTS and is_selection(args, kwargs):
        return _selected(func, args)
    return NOTHING


def has_mask(indices: Any) -> bool:
    """Whether an index among them is a mask."""
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _each(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """One tensor of the lists after the other."""
    single = aten.linalg_vector_norm if name == "norm" else getattr(aten, name)
    made = []
    for place in range(len(args[0])):
        given = [argument[place] if isinstance(argument, list | tuple) else argument for argument in args]
        named = {key: value[place] if isinstance(value, list | tuple) else value for key, value in kwargs.items()}
        bare = name.rstrip("_")
        if bare in BY_NAME and len(given) == 4:
            named[BY_NAME[bare]] = given.pop()
        made.append(single(*given, **named))
    return None if name.endswith("_") else made


def is_selection(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an assignment by index is one by a single mask, of a value that is the same wherever the mask is."""
    tensor, indices, values = args[:3]
    *before, last = indices
    if any(index is not None for index in before) or last is None or last.dtype is not torch.bool:
        return False
    if args[3] if len(args) > 3 else kwargs.get("accumulate", False):
        return False
    trailing = tensor.dim() - len(before) - last.dim()
    return bool(values.numel() == 1 or (values.dim() <= trailing and not before))


def _selected(func: Any, args: tuple[Any, ...]) -> torch.Tensor:
    """`tensor[mask] = value` as a selection."""
    tensor, (*before, mask), values = args[:3]
    after = tensor.dim() - len(before) - mask.dim()
    mask = mask.reshape([1] * len(before) + list(mask.shape) + [1] * after)
    value = values.reshape(()) if values.numel() == 1 else values
    made = torch.where(mask, value.to(tensor.dtype), tensor)
    if func._schema.is_mutable:
        made = tensor.copy_(made)
    return made
