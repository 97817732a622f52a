"""Commit, draw and lottery, bit for bit as `TaskMarket` computes them (docs/market.md).

H is keccak256 over abi.encode in the written order. Block numbers, stakes and probabilities are the caller's to read.
"""

from __future__ import annotations

import hashlib
import hmac

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from orebit.chain.deployment import Deployment
from orebit.chain.types import LeaseId, Terms

NO_HASH = bytes(32)
FULL_PROBABILITY = 10_000
"""Basis points of certainty."""

_LOTTERY_TICKETS = 8
"""Winners that the lottery expects over all nodes and its L blocks."""


def salt(key: bytes, deployment: Deployment, lease: LeaseId) -> bytes:
    """HMAC-SHA256 of chain, market and lease (generation included) under the node's private key: 32 bytes.

    Nothing to store, so nothing to lose in a crash; nobody without the key can guess it.
    """
    message = encode(
        ["string", "uint256", "address", "uint72"],
        ["orebit salt", deployment.chain_id, deployment.market, int(lease)],
    )
    return hmac.new(key, message, hashlib.sha256).digest()


def commitment(deployment: Deployment, lease: LeaseId, root: bytes, salt: bytes) -> bytes:
    """H(chain, market, slot key, generation, root, salt)."""
    types = ["uint256", "address", "uint40", "uint32", "bytes32", "bytes32"]
    values = [deployment.chain_id, deployment.market, lease.key, lease.generation, root, salt]
    return keccak(encode(types, values))


def draw_block(commit_block: int, terms: Terms) -> int:
    """d: the block whose hash draws."""
    return commit_block + terms.draw_delay


def draw_hash(block_hash: bytes, lease: LeaseId, commitment: bytes) -> bytes:
    """H(blockhash(d), slot key, generation, commit): the draw, the drawn block's choice, and the lottery's seed."""
    return keccak(
        encode(["bytes32", "uint40", "uint32", "bytes32"], [block_hash, lease.key, lease.generation, commitment])
    )


def is_drawn(block_hash: bytes, lease: LeaseId, commitment: bytes, draw_bp: int) -> bool:
    """Whether chance picked the lease; a zero hash never does."""
    if block_hash == NO_HASH:
        return False
    high = int.from_bytes(draw_hash(block_hash, lease, commitment)[:16], "big")
    return high * FULL_PROBABILITY < draw_bp << 128


def replica_log2(terms: Terms, shards: int) -> int:
    """b: log2 of the shards that a replica of a lease of `shards` re-executes (the last block may be shorter)."""
    return min(terms.block_log2, tree_height(shards))


def tree_height(shards: int) -> int:
    """h = ceil(log2 shards)."""
    return (shards - 1).bit_length()


def block_count(terms: Terms, shards: int) -> int:
    """Aligned blocks of 2^b shards in a lease."""
    return -(-shards >> replica_log2(terms, shards))


def drawn_block(seed: bytes, blocks: int) -> int:
    """Which aligned block the replica re-executes; `seed` is the draw's hash."""
    return int.from_bytes(seed[16:], "big") % blocks


def ticket(seed: bytes, node: int, attempt: int) -> int:
    """The high 128 bits of H(seed, node, attempt)."""
    return int.from_bytes(keccak(encode(["bytes32", "uint32", "uint256"], [seed, node, attempt]))[:16], "big")


def wins(seed: bytes, node: int, attempt: int, stake: int, total_stake: int, lottery_blocks: int) -> bool:
    """Whether an attempt admits the node: `ticket * totalStake * L < 8 * stake * 2^128`; stakes in wei."""
    return ticket(seed, node, attempt) * total_stake * lottery_blocks < (_LOTTERY_TICKETS * stake) << 128


def winning_attempt(
    seed: bytes, node: int, stake: int, total_stake: int, lottery_blocks: int, *, first: int = 1, last: int
) -> int | None:
    """The least winning attempt j in [first, last]; j may be used once block >= d + j. None without one."""
    for attempt in range(first, last + 1):
        if wins(seed, node, attempt, stake, total_stake, lottery_blocks):
            return attempt
    return None
