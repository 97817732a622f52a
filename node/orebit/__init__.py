"""Orebit: a knowledge-mining market on Ethereum."""
