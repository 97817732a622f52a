"""TokenAI: minted once, burnt by its holders, never minted again."""

from __future__ import annotations

from evm import reverts
from market_steps import Stage

CAP = 10**27


def test_supply(stage: Stage) -> None:
    token = stage.token
    assert (token.name(), token.symbol(), token.decimals()) == ("TokenAI", "TAI", 18)
    assert token.totalSupply() == token.CAP() == CAP < 2**96
    assert token.balanceOf(stage.treasury) == CAP


def test_nobody_mints(stage: Stage) -> None:
    state_changing = [name for name, function in vars(stage.token).items() if not getattr(function, "view", True)]
    assert sorted(state_changing) == ["approve", "burn", "burnFrom", "permit", "transfer", "transferFrom"]


def test_burn(stage: Stage) -> None:
    stage.token.transfer(stage.stranger, 10, sender=stage.treasury)
    stage.token.burn(4, sender=stage.stranger)
    assert (stage.token.balanceOf(stage.stranger), stage.token.totalSupply()) == (6, CAP - 4)
    with reverts("ERC20InsufficientBalance", stage.stranger, 6, 7):
        stage.token.burn(7, sender=stage.stranger)
    with reverts("ERC20InsufficientAllowance", stage.requester, 0, 1):
        stage.token.burnFrom(stage.stranger, 1, sender=stage.requester)


def test_transfer(stage: Stage) -> None:
    receipt = stage.token.transfer(stage.stranger, 10, sender=stage.treasury)
    assert vars(receipt.one("Transfer")) == {"from": stage.treasury, "to": stage.stranger, "value": 10}
    stage.token.approve(stage.requester, 6, sender=stage.stranger)
    stage.token.transferFrom(stage.stranger, stage.requester, 6, sender=stage.requester)
    with reverts("ERC20InsufficientAllowance", stage.requester, 0, 1):
        stage.token.transferFrom(stage.stranger, stage.requester, 1, sender=stage.requester)
