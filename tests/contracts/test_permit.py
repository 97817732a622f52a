"""`permit` of market and registry: one transaction, and nobody can spoil it by sending the signature first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from eth_account import Account
from evm import Contract, reverts
from market_steps import Stage, Terms

OWNER = Account.from_key(b"k" * 32)


@dataclass(frozen=True)
class Signed:
    value: int
    deadline: int
    v: int
    r: bytes
    s: bytes

    @property
    def arguments(self) -> tuple[int, int, int, bytes, bytes]:
        return self.value, self.deadline, self.v, self.r, self.s


def sign(stage: Stage, spender: Contract, value: int, deadline: int | None = None) -> Signed:
    deadline = stage.chain.time + 1000 if deadline is None else deadline
    domain = {
        "name": "TokenAI",
        "version": "1",
        "chainId": stage.chain_id,
        "verifyingContract": stage.token.address,
    }
    names = {"owner": "address", "spender": "address", "value": "uint256", "nonce": "uint256", "deadline": "uint256"}
    types = {"Permit": [{"name": name, "type": kind} for name, kind in names.items()]}
    nonce = stage.token.nonces(OWNER.address)
    message = dict(zip(names, [OWNER.address, spender.address, value, nonce, deadline], strict=True))
    signature = Account.sign_typed_data(OWNER.key, domain, types, message)
    return Signed(value, deadline, signature.v, signature.r.to_bytes(32, "big"), signature.s.to_bytes(32, "big"))


@pytest.fixture(params=["market", "registry"])
def spender(stage: Stage, request: pytest.FixtureRequest) -> Contract:
    stage.token.transfer(OWNER.address, 1000, sender=stage.treasury)
    contract = getattr(stage, request.param)
    assert isinstance(contract, Contract)
    return contract


def test_permit(stage: Stage, spender: Contract) -> None:
    signed = sign(stage, spender, 70)
    spender.permit(*signed.arguments, sender=OWNER.address)
    assert stage.token.allowance(OWNER.address, spender.address) == 70


def test_signature_sent_by_another_first(stage: Stage, spender: Contract) -> None:
    signed = sign(stage, spender, 70)
    stage.token.permit(OWNER.address, spender.address, *signed.arguments, sender=stage.stranger)
    spender.permit(*signed.arguments, sender=OWNER.address)
    assert stage.token.allowance(OWNER.address, spender.address) == 70


def test_of_another(stage: Stage, spender: Contract) -> None:
    signed = sign(stage, spender, 70)
    with reverts("PermitFailed", 70, 0):
        spender.permit(*signed.arguments, sender=stage.stranger)


def test_late(stage: Stage, spender: Contract) -> None:
    signed = sign(stage, spender, 70, stage.chain.time)
    with reverts("PermitFailed", 70, 0):
        spender.permit(*signed.arguments, sender=OWNER.address)
    stage.token.approve(spender.address, 69, sender=OWNER.address)
    with reverts("PermitFailed", 70, 69):
        spender.permit(*signed.arguments, sender=OWNER.address)
    stage.token.approve(spender.address, 70, sender=OWNER.address)
    spender.permit(*signed.arguments, sender=OWNER.address)


def test_task_in_one_transaction(stage: Stage) -> None:
    stage.token.transfer(OWNER.address, 500, sender=stage.treasury)
    signed = sign(stage, stage.market, 500)
    calls = [stage.market.permit.encode(*signed.arguments), stage.market.create.encode(Terms().values, "", 500)]
    stage.token.permit(OWNER.address, stage.market.address, *signed.arguments, sender=stage.stranger)
    stage.market.multicall(calls, 0b11, sender=OWNER.address)
    assert stage.market.taskOf(1).escrow == 500
