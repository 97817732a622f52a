"""What was posted in a game so far: all that a player needs beside the state, and what the contract's events hold."""

from __future__ import annotations

from orebit.commitment import merkle
from orebit.commitment.merkle import HASH_SIZE
from orebit.dispute.game import GameState, Phase, Posting, node_half
from orebit.dispute.moves import Hashes

_HASHES = (Phase.CHECKPOINTS, Phase.STATES, Phase.NODES, Phase.NEW_STATE, Phase.TENSOR)


class Record:
    """Postings by their raw roots, and the last posting's bytes."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Hashes] = {}
        self.posted = b""

    def see(self, state: GameState, posted: bytes) -> None:
        """What a move or opening posted, and the state after it."""
        self.posted = posted
        if state.phase in _HASHES:
            self._entries[state.last.root] = tuple(merkle.unpack(posted))
        elif state.phase is Phase.TRACE:
            half = state.stack[0].entries(node_half(state.counts)) if state.stack else 0
            if state.stack:
                self._entries[state.stack[0].root] = tuple(merkle.unpack(posted[: half * HASH_SIZE]))
            self._entries[state.last.root] = tuple(merkle.unpack(posted[half * HASH_SIZE :]))

    def entries(self, posting: Posting) -> Hashes:
        """The entries of a posting of this game.

        Raises:
            KeyError: for one that was never seen.
        """
        return self._entries[posting.root]
