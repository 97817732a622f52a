"""The chain as Orebit sees it: a checked connection, typed contracts, events, transactions, keys and books."""
