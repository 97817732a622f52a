"""Random operations of a step, told apart by the state of the generator that they draw from.

Every draw has a site: its place in the order of the step's draws. A forward pass that is computed again (activation
checkpointing) puts the generator back first, so it meets states that were met before and has the sites that it had.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.utils._python_dispatch import TorchDispatchMode

from orebit.errors import TraceError

SITE = "orebit_site"


def is_random(operation: Any) -> bool:
    """Whether an aten operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(operation, "tags", ())


def site_of(node: fx.Node) -> int | None:
    """The site of the draw that a node is part of."""
    site = node.meta.get("custom", {}).get(SITE)
    return site if isinstance(site, int) else None


class Sites:
    """Numbers the draws of one run of a step; holds the generators it met, with their states before."""

    def __init__(self) -> None:
        self._sites: dict[bytes, int] = {}
        self._generators: dict[int, tuple[torch.Generator, torch.Tensor]] = {}

    def number(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """The site of the operation about to run; None for one that draws nothing."""
        if not is_random(operation):
            return None
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Generator)]
        state = (given[0] if given else torch.default_generator).get_state()
        for generator in given:
            self._generators.setdefault(id(generator), (generator, state))
        return self._sites.setdefault(state.numpy().tobytes(), len(self._sites))

    def restore_generators(self) -> None:
        """Puts the step's own generators back to where the run found them."""
        for generator, state in self._generators.values():
            generator.set_state(state)

    def refuse_shared(self, other: Sites, source: str) -> None:
        """Two runs from different seeds must not meet in one state.

        Raises:
            TraceError: when they do, as the step then seeds a generator, and draws the same numbers every time.
        """
        own = {id(generator) for generator, _ in self._generators.values()}
        if not own and self._sites.keys() & other._sites.keys():
            raise TraceError(
                f"the step at {source} seeds torch's random generator itself, so that it draws the same numbers every"
                " time; draw them before, and give them as data or as a buffer"
            )


class GeneratorKeeper(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes which generators a run draws from."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.sites = Sites()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.sites.number(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))
