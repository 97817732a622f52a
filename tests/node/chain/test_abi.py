"""What goes to the contracts and comes back, against the deployed ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_account import Account
from local_chain import KEYS, Anvil
from stage import TERMS, Refused, open_stage

from orebit.chain import abi, court_events, events
from orebit.chain.deployment import Deployment
from orebit.chain.revert import decode_revert, describe
from orebit.chain.token import UNIT
from orebit.chain.types import BatchInfo, LeaseId, LeaseState
from orebit.errors import ChainError

IGNORED = {"Approval", "EIP712DomainChanged"}


@pytest.mark.parametrize("contract", abi.CONTRACTS)
def test_every_event_of_the_contracts_has_a_class_of_its_fields(contract: str) -> None:
    for entry in abi.load(contract).events.values():
        if entry.name in IGNORED:
            continue
        cls = getattr(court_events if contract == "DisputeCourt" else events, entry.name)
        names = [name.rstrip("_") for name in cls.__dataclass_fields__ if name != "place"]
        assert names == [parameter.name for parameter in entry.inputs], entry.name


async def test_every_view_reads(anvil: Anvil, deployed: Deployment) -> None:
    stage = await open_stage(anvil, deployed)
    stage.prepare(nodes=2)
    task = stage.create(flags=2, block_log2=1)
    batch = stage.post(task, grains=3, size=2)
    lease = stage.lease(batch, 2, first=1, slot=7)
    stage.by_requester(stage.market.encode_bar(task, 1, True))
    async with stage.connection:
        market, registry = stage.market, stage.registry
        info = await market.task_of(task)
        assert info.terms == replace(TERMS, flags=2, block_log2=1) and info.terms.is_gated and not info.terms.is_open
        found = await market.batch_of(batch)
        assert (found.task, found.grains, found.size, found.free, found.closed) == (task, 3, 2, 0b101, False)
        assert found.free_runs() == [(0, 1), (2, 1)]
        held = await market.lease_of(lease)
        assert (held.state, held.first_shard, held.shards, held.stake) == (LeaseState.LEASED, 2, 2, 4 * UNIT)
        assert await market.fee_of(batch) == UNIT
        assert await market.slot_of(2, 7) == (1, False) and await market.slot_of(2, 8) == (0, True)
        assert await market.is_barred(task, 1) and not await market.is_barred(task, 2)
        assert await market.result_of(batch, 0) == (bytes(32), 0)
        assert (await market.task_count(), await market.batch_count(), await market.balance_of(1)) == (1, 1, 0)
        assert not await market.paused() and await market.guardian() == deployed.guardian
        assert (await market.policy()).max_move_time == 3600
        node = await registry.node_of(2)
        assert (node.owner, node.locked, node.available) == (stage.owner(2), 4 * UNIT, 996 * UNIT)
        assert await registry.total_stake() == 2_000 * UNIT and await registry.node_count() == 2
        assert await registry.payee_of(2) == stage.owner(2) and await registry.is_operator(2, stage.owner(2))
        assert await registry.unbonding_seconds() == 60
        past = await market.task_count(block=deployed.block + 4)
        assert past == 0


async def test_a_permit_in_place_of_an_approval(anvil: Anvil, deployed: Deployment) -> None:
    stage = await open_stage(anvil, deployed)
    market, token = stage.market, stage.token
    owner = Account.from_key(KEYS[2])
    stage.send(stage.accounts[0], token.address, token.encode_transfer(owner.address, UNIT))
    create = market.encode_create(TERMS, "http://u", UNIT)
    with pytest.raises(Refused, match="ERC20InsufficientAllowance"):
        stage.send(owner.address, market.address, create)
    async with stage.connection:
        v, r, s = await token.sign_permit(owner, market.address, UNIT, 2**40)
        calls = [market.encode_permit(UNIT, 2**40, v, r, s), create]
        stage.send(owner.address, market.address, market.encode_multicall(calls, 0b11))
        assert await token.balance_of(market.address) == UNIT
        assert await token.allowance(owner.address, market.address) == 0


def test_a_value_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ChainError, match="deposit"):
        abi.load("TaskMarket").encode_call("deposit", [1, 2**96])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", "Reverted()"),
        ("12345678", "Unknown(data=0x12345678)"),
        ("4e487b71" + "11".zfill(64), "Panic(code=17, meaning=arithmetic overflow)"),
        ("08c379a0" + "20".zfill(64) + "2".zfill(64) + "6e6f".ljust(64, "0"), "Error(message=no)"),
        ("08c379a0ff", "Unknown(data=0x08c379a0ff)"),
    ],
)
def test_reverts_that_are_no_custom_error(data: str, told: str) -> None:
    assert describe(*decode_revert(bytes.fromhex(data))) == told


def test_lease_identifiers() -> None:
    lease = LeaseId.of(0xFFFF_FFFF, 0xFE, 0xFFFF_FFFD)
    assert (lease.node, lease.slot, lease.generation) == (0xFFFF_FFFF, 0xFE, 0xFFFF_FFFD)
    assert lease.key == 0xFFFF_FFFF_FE and lease < 2**72
    assert str(LeaseId.of(3, 2, 7)) == "3/2#7" and LeaseId(int(lease)) == lease


def test_free_runs() -> None:
    batch = BatchInfo(1, 8, 1, 0b1101_1011, 8, 0, 1, b"")
    assert batch.free_runs() == [(0, 2), (3, 2), (6, 2)]
