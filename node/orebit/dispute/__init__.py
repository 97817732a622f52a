"""Disputes: what a side can prove of a shard, the rules of the court's game, and the honest player (docs/court.md)."""

from __future__ import annotations

from orebit.dispute.cost import MoveCost, measure, measured
from orebit.dispute.evidence import Evidence, Inputs, Means
from orebit.dispute.game import GameState, Phase, Side
from orebit.dispute.moves import Move, Opener, Opening, Precommitment, arguments
from orebit.dispute.packing import pack_state, parse_state
from orebit.dispute.player import Player, open_interval
from orebit.dispute.rules import Case, Game
from orebit.dispute.shelf import Room
from orebit.dispute.words import describe

__all__ = [
    "Case",
    "Evidence",
    "Game",
    "GameState",
    "Inputs",
    "Means",
    "Move",
    "MoveCost",
    "Opener",
    "Opening",
    "Phase",
    "Player",
    "Precommitment",
    "Room",
    "Side",
    "arguments",
    "describe",
    "measure",
    "measured",
    "open_interval",
    "pack_state",
    "parse_state",
]
