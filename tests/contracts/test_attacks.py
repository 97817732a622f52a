"""What an adversary tries, and what it gets: one test for every attack that MARKET.md answers."""

from __future__ import annotations

import pytest
from evm import Contract, Receipt, reverts
from market_steps import GATED, OPEN, PLAN, STAKE, Lease, Pair, Stage, State, Terms, person

ALL = 2**256 - 1


def paired(stage: Stage, primary: Lease, block_root: bytes, path: list[bytes]) -> Receipt:
    arguments = (primary.id, primary.root, primary.salt, block_root, path)
    return stage.market.revealPaired(*arguments, sender=primary.node.operator)


def equal_pair(stage: Stage, primary: Lease, replica: Lease) -> None:
    """Both committed and reveal."""
    stage.commit(replica)
    stage.reveal(replica)
    stage.reveal_paired(primary, replica)


# Front-running


def test_finalise_is_front_run_inside_a_nodes_multicall(stage: Stage) -> None:
    """A rival settles the node's lease first. The node's own cycle goes on all the same."""
    batch = stage.batch(grains=4, maxGrains=1)
    alice = stage.node("alice")
    old = stage.lease(batch, alice, first=0, grains=1)
    stage.commit(old)
    stage.after_draw(old)
    stage.reveal(old)
    stage.pass_deadline(old)
    this = stage.lease(batch, alice, first=1, grains=1, slot=1)
    calls = [
        stage.market.finalise.encode([old.id]),
        stage.market.withdraw.encode(alice.id),
        stage.market.commit.encode(this.id, stage.commitment(this)),
        stage.market.lease.encode(batch.id, 2, 1, alice.id, 0),
    ]
    stage.finalise(old)
    stage.market.withdraw(alice.id, sender=stage.stranger)
    receipt = stage.market.multicall(calls, 0b1100, sender=alice.operator)
    assert [event.fields["index"] for event in receipt.named("CallFailed")] == [1]
    assert stage.state(this) is State.COMMITTED
    assert stage.token.balanceOf(alice.owner) == old.pay


@pytest.mark.parametrize("spoiler", ["expire", "lease"])
def test_a_cycle_survives_whatever_another_did_first(stage: Stage, spoiler: str) -> None:
    """The grain it wanted is taken, its late lease already expired: recorded, not reverted."""
    batch = stage.batch(grains=4, maxGrains=1)
    alice, bob = stage.nodes("alice", "bob")
    late = stage.lease(batch, alice, first=0, grains=1)
    stage.pass_deadline(late)
    this = stage.lease(batch, alice, first=1, grains=1, slot=1)
    if spoiler == "expire":
        stage.expire(late)
    else:
        stage.lease(batch, bob, first=2, grains=1)
    calls = [
        stage.market.expire.encode([late.id]),
        stage.market.lease.encode(batch.id, 2, 1, alice.id, 0),
        stage.market.commit.encode(this.id, stage.commitment(this)),
    ]
    receipt = stage.market.multicall(calls, 0b100, sender=alice.operator)
    assert bool(receipt.named("CallFailed")) is (spoiler == "lease")
    assert stage.state(this) is State.COMMITTED


def test_a_reveal_seen_in_the_mempool_pays_its_owner(stage: Stage) -> None:
    primary = stage.bring(State.COMMITTED).primary
    stage.after_draw(primary)
    stage.reveal(primary, sender=stage.stranger)
    stage.pass_deadline(primary)
    stage.finalise(primary)
    assert stage.balance(primary.node) == primary.pay


# Cheating while being watched


def test_selective_abort_once_paired(stage: Stage) -> None:
    """A cheat that sees itself paired and falls silent loses all of S, as if it had been proven wrong."""
    primary = stage.bring(State.LEASED).primary.lie()
    stage.commit(primary)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, stage.nodes_known["bob"])
    stage.commit(replica)
    stage.reveal(replica)
    stage.pass_deadline(primary)
    stage.expire(primary)
    assert stage.node_info(primary.node).stake == STAKE - primary.stake
    assert stage.free(primary.batch) == 0b11
    stage.pass_deadline(replica)
    stage.finalise(replica)
    assert stage.balance(replica.node) == primary.batch.fee


def test_silence_of_both_saves_neither(stage: Stage) -> None:
    """A cheat and its second identity, both committed to different lies, fall silent together."""
    pair = stage.bring(State.BOTH)
    assert pair.replica
    stage.pass_deadline(pair.primary, turn=True)
    stage.expire(pair.primary)
    for lease in (pair.primary, pair.replica):
        assert stage.node_info(lease.node).stake == STAKE - lease.stake


@pytest.mark.parametrize("drawn", ["called", "by the chain"])
def test_reveal_while_drawn(stage: Stage, drawn: str) -> None:
    """It would show the replica what to copy. Not possible in any block of the lottery, nor in a multicall."""
    state, terms = (State.CALLED, {}) if drawn == "called" else (State.COMMITTED, {"drawBp": 10_000})
    primary = stage.bring(state, lotteryBlocks=5, **terms).primary
    draw = stage.draw_block(primary)
    reveal = stage.market.reveal.encode(primary.id, primary.root, primary.salt)
    for block in range(draw + 1, draw + 6):
        stage.chain.mine_to(block - 1)
        with stage.chain.undone(), reverts("DrawnUntil", primary.id, draw + 5):
            stage.market.multicall([reveal], ALL, sender=primary.node.operator)
    stage.chain.mine_to(draw + 5)
    stage.market.multicall([reveal], ALL, sender=primary.node.operator)


def test_lottery_joined_after_the_seed(stage: Stage) -> None:
    """An identity registered once the seed is known, however rich, never takes."""
    primary = stage.bring(State.CALLED, lotteryBlocks=20).primary
    stage.after_draw(primary)
    whale = stage.node("whale", 10**25)
    for _ in range(12):
        with stage.chain.undone(), reverts("StakeTooYoung", whale.id, ..., ...):
            stage.take(primary, whale, attempt=1)
        stage.chain.mine()


def test_a_ticket_belongs_to_its_node(stage: Stage) -> None:
    """Attempt numbers are no secret, but another's is of no use: its operator must send it."""
    primary = stage.bring(State.CALLED).primary
    bob = stage.nodes_known["bob"]
    stage.after_lottery(primary)
    with reverts("NotOperator", bob.id, stage.stranger):
        stage.market.take(primary.id, bob.id, 0, 1, sender=stage.stranger)


def test_a_cheats_second_identity_as_replica(stage: Stage) -> None:
    """Both state the same lie. The window and both stakes remain, and a third party still convicts both."""
    primary = stage.bring(State.LEASED).primary.lie()
    stage.commit(primary)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, stage.nodes_known["bob"]).lie()
    equal_pair(stage, primary, replica)
    assert stage.state(primary) is stage.state(replica) is State.REVEALED
    for _ in stage.not_passed(primary):
        assert not stage.finalise(primary, replica).events
        for lease in (primary, replica):
            assert stage.node_info(lease.node).locked == lease.stake
    stage.open_game(primary)
    stage.open_game(replica)
    stage.pass_deadline(primary)
    assert not stage.finalise(primary, replica).events
    stage.convict(primary)
    stage.convict(replica)
    assert stage.balance(primary.node) == stage.balance(replica.node) == 0
    assert stage.free(primary.batch) == 0b11
    assert stage.reserve(primary.batch.id) == primary.batch.reserved


def test_proving_ones_own_fault_never_pays(stage: Stage) -> None:
    """Even where prover, replica and primary are one: at least half of S burns."""
    pair = stage.bring(State.CONTESTED)
    assert pair.replica
    supply = stage.token.totalSupply()
    slashed = stage.convict(pair.primary).one("Slashed")
    gained = slashed.bounty + pair.primary.batch.fee
    assert gained <= pair.primary.stake // 2
    assert supply - stage.token.totalSupply() >= pair.primary.stake - pair.primary.stake // 2


# Trees and commits


def test_path_at_an_index_of_the_nodes_choice(stage: Stage) -> None:
    """It lied in the drawn block, and opens an honest one instead."""
    pair = half_revealed(stage, grains=4, size=2, lie_in_drawn=True)
    assert pair.replica and pair.replica.block is not None
    for index in range(4):
        if index != pair.replica.block:
            with reverts("WrongOpening", pair.primary.root, ...):
                paired(stage, pair.primary, *pair.primary.opening(index))
    stage.reveal_paired(pair.primary, pair.replica)
    assert stage.state(pair.primary) is State.CONTESTED


def half_revealed(stage: Stage, grains: int, size: int, lie_in_drawn: bool) -> Pair:
    """A primary that lied in every block but could open any."""
    pair = stage.bring(State.LEASED, grains=grains, size=size)
    if lie_in_drawn:
        pair.primary.lie()
    stage.commit(pair.primary)
    stage.call(pair.primary)
    stage.after_lottery(pair.primary)
    pair.replica = stage.take(pair.primary, stage.nodes_known["bob"])
    stage.commit(pair.replica)
    stage.reveal(pair.replica)
    return pair


@pytest.mark.parametrize("length", [0, 1, 3, 40])
def test_path_of_wrong_length(stage: Stage, length: int) -> None:
    """A short one would pass an inner node off as a block, a long one a leaf's part."""
    pair = half_revealed(stage, grains=4, size=2, lie_in_drawn=False)
    assert pair.replica and pair.replica.block is not None
    block_root, path = pair.primary.opening(pair.replica.block)
    with reverts("WrongPathLength", length, 2):
        paired(stage, pair.primary, block_root, (path + [bytes(32)] * 40)[:length])


def test_commit_copied_from_another(stage: Stage) -> None:
    """A copier commits the honest node's own commitment, but can never open it: it names chain, market and lease."""
    batch = stage.batch(grains=2, maxGrains=1)
    alice, mallory = stage.nodes("alice", "mallory")
    honest, copy = stage.lease(batch, alice, first=0, grains=1), stage.lease(batch, mallory, first=1, grains=1)
    stage.commit(honest)
    stage.market.commit(copy.id, stage.commitment(honest), sender=mallory.operator)
    stage.after_draw(copy)
    stage.reveal(honest)
    with reverts("WrongReveal", copy.id, stage.commitment(honest), ...):
        stage.market.reveal(copy.id, honest.root, honest.salt, sender=mallory.operator)


def test_commit_replayed_in_the_slots_next_life(stage: Stage) -> None:
    primary = stage.bring(State.COMMITTED).primary
    old = stage.commitment(primary)
    stage.pass_deadline(primary)
    stage.expire(primary)
    again = stage.lease(primary.batch, primary.node)
    assert again.key == primary.key
    stage.market.commit(again.id, old, sender=again.node.operator)
    stage.after_draw(again)
    with reverts("WrongReveal", again.id, old, ...):
        stage.market.reveal(again.id, primary.root, primary.salt, sender=again.node.operator)
    with reverts("StaleLease", primary.id, 2):
        stage.reveal(primary)


def test_wrong_generation_everywhere(stage: Stage) -> None:
    """Nothing reaches a slot under the name of an earlier or later life."""
    primary = stage.bring(State.REVEALED, alone=True).primary
    stage.pass_deadline(primary)
    stage.finalise(primary)
    again = stage.lease(stage.batch(), primary.node)
    market, operator = stage.market, primary.node.operator
    for stale in (primary.id, again.id + 1):
        for act in (
            lambda stale=stale: market.commit(stale, PLAN, sender=operator),
            lambda stale=stale: market.call(stale, sender=stage.requester),
            lambda stale=stale: market.reveal(stale, PLAN, PLAN, sender=operator),
            lambda stale=stale: market.revealPaired(stale, PLAN, PLAN, PLAN, [], sender=operator),
            lambda stale=stale: market.take(stale, primary.node.id, 1, 1, sender=operator),
            lambda stale=stale: market.gameOpened(stale, sender=stage.arbiter),
            lambda stale=stale: market.convict(stale, sender=stage.arbiter),
        ):
            with reverts("StaleLease", stale, 2):
                act()
        assert market.leaseOf(stale).state == State.FREE
        for leave in (market.finalise, market.expire, market.resolve):
            assert not leave([stale], sender=stage.stranger).events


def test_stale_peer_after_a_slots_reuse(stage: Stage) -> None:
    """The replica's slot has a new life in another task; its old primary's fate no longer touches it."""
    pair = stage.bring(State.PAIRED)
    primary, replica = pair.primary, pair.replica
    assert replica
    stage.pass_deadline(replica)
    stage.expire(replica)
    other = stage.lease(stage.batch(), replica.node, slot=replica.slot)
    assert other.key == replica.key
    before = vars(stage.info(other))
    stage.reveal(primary)
    stage.convict(primary)
    assert vars(stage.info(other)) == before
    stage.commit(other)
    stage.after_draw(other)
    stage.reveal(other)
    stage.pass_deadline(other)
    assert stage.finalise(other).one("Finalised").paid == other.pay


def test_stale_peer_after_the_primarys_slot_was_reused(stage: Stage) -> None:
    """The primary was paid while its replica was in a game; the verdict against the replica reaches no new lease."""
    pair = stage.bring(State.REVEALED)
    primary, replica = pair.primary, pair.replica
    assert replica
    stage.open_game(replica)
    stage.pass_deadline(primary)
    stage.finalise(primary)
    other = stage.lease(stage.batch(), primary.node, slot=primary.slot)
    before = vars(stage.info(other))
    stage.convict(replica)
    assert vars(stage.info(other)) == before


def test_replica_paid_twice(stage: Stage) -> None:
    """By either name, in one list, in two calls, before its primary and after: one fee."""
    pair = stage.bring(State.REVEALED)
    primary, replica = pair.primary, pair.replica
    assert replica
    stage.open_game(primary)
    stage.pass_deadline(primary)
    stage.finalise(replica, replica, primary, replica)
    stage.finalise(replica)
    stage.close_game(primary)
    stage.finalise(primary, replica, primary)
    stage.finalise(replica)
    assert stage.balance(replica.node) == primary.batch.fee
    assert stage.balance(primary.node) == primary.pay


# Others' keys and money


def test_anothers_operator(stage: Stage) -> None:
    """An operator acts for its own node, and cannot touch where money goes."""
    pair = stage.bring(State.LEASED)
    alice, bob = pair.primary.node, stage.nodes_known["bob"]
    with reverts("NotOperator", alice.id, bob.operator):
        stage.market.commit(pair.primary.id, PLAN, sender=bob.operator)
    with reverts("NotOperator", alice.id, bob.operator):
        stage.market.lease(stage.batch().id, 0, 1, alice.id, 9, sender=bob.operator)
    for function, arguments in [
        (stage.registry.setPayee, (alice.id, alice.operator)),
        (stage.registry.setOperator, (alice.id, alice.operator)),
        (stage.registry.unbond, (alice.id, 1)),
    ]:
        with reverts("NotOwner", alice.id, alice.operator):
            function(*arguments, sender=alice.operator)


def test_a_stolen_operators_key_is_replaced_in_mid_lease(stage: Stage) -> None:
    primary = stage.bring(State.LEASED).primary
    fresh = person("fresh key")
    stage.registry.setOperator(primary.node.id, fresh, sender=primary.node.owner)
    with reverts("NotOperator", primary.node.id, primary.node.operator):
        stage.commit(primary)
    stage.market.commit(primary.id, stage.commitment(primary), sender=fresh)


@pytest.mark.parametrize("contract", ["market", "registry"])
def test_one_wei_gift(stage: Stage, contract: str) -> None:
    """A gift is nobody's: it changes no escrow, balance, stake or weight, and blocks no exit."""
    pair = stage.bring(State.REVEALED)
    primary, replica = pair.primary, pair.replica
    assert replica
    before = [stage.escrow(primary.batch.task), vars(stage.node_info(primary.node)), stage.registry.totalStake()]
    stage.give(contract, 1)
    assert before == [
        stage.escrow(primary.batch.task),
        vars(stage.node_info(primary.node)),
        stage.registry.totalStake(),
    ]
    stage.pass_deadline(primary)
    assert len(stage.finalise(primary).named("Finalised")) == 2
    task = primary.batch.task
    stage.market.withdrawEscrow(task.id, stage.escrow(task), stage.requester, sender=stage.requester)
    for node in (primary.node, replica.node):
        stage.market.withdraw(node.id, sender=stage.stranger)
    assert stage.token.balanceOf(stage.market.address) == stage.gifts["market"]


def test_one_wei_gift_to_a_rivals_stake(stage: Stage) -> None:
    """It would make the rival's stake too young for the lottery; so only its owner may add."""
    primary = stage.bring(State.CALLED, lotteryBlocks=20).primary
    bob = stage.nodes_known["bob"]
    since = stage.node_info(bob).since
    stage.fund(stage.stranger, 1, stage.registry)
    with reverts("NotOwner", bob.id, stage.stranger):
        stage.registry.addStake(bob.id, 1, sender=stage.stranger)
    with reverts("NotOwner", bob.id, stage.stranger):
        stage.registry.cancelUnbond(bob.id, sender=stage.stranger)
    stage.token.transfer(stage.registry.address, 1, sender=stage.stranger)
    stage.gifts["registry"] += 1
    assert stage.node_info(bob).since == since
    stage.after_lottery(primary)
    stage.take(primary, bob)


def test_unbonding_out_of_a_slash(stage: Stage) -> None:
    """S stays locked from the lease to the end, so there is always all of it to take."""
    primary = stage.bring(State.REVEALED, alone=True).primary
    node = primary.node
    stage.registry.unbond(node.id, STAKE - primary.stake, sender=node.owner)
    with reverts("StakeShort", node.id, 1, 0):
        stage.registry.unbond(node.id, 1, sender=node.owner)
    stage.chain.jump(stage.registry.unbondingSeconds())
    stage.registry.withdrawStake(node.id, sender=node.owner)
    stage.convict(primary)
    assert stage.node_info(node).stake == 0


# Requester and guardian


def test_pause_in_mid_lease(stage: Stage) -> None:
    """Whoever has begun can finish, be checked, be paid and leave."""
    primary = stage.bring(State.COMMITTED, drawDelay=10).primary
    stage.market.setPaused(True, sender=stage.guardian)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, stage.nodes_known["bob"])
    equal_pair(stage, primary, replica)
    stage.pass_deadline(primary)
    stage.finalise(primary)
    for lease in (primary, replica):
        stage.market.withdraw(lease.node.id, sender=stage.stranger)
        assert stage.token.balanceOf(lease.node.owner) == lease.pay
        stage.registry.unbond(lease.node.id, STAKE, sender=lease.node.owner)


def test_bar_after_a_commit(stage: Stage) -> None:
    """The requester cannot throw a live lease out, nor choose who checks it."""
    primary = stage.bring(State.COMMITTED, flags=GATED, drawDelay=10).primary
    bob = stage.nodes_known["bob"]
    for node in (primary.node, bob):
        stage.market.bar(primary.batch.task.id, node.id, True, sender=stage.requester)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, bob)
    equal_pair(stage, primary, replica)
    stage.pass_deadline(primary)
    assert len(stage.finalise(primary).named("Finalised")) == 2


def test_a_requester_who_vanishes(stage: Stage) -> None:
    """Its escrow was reserved when it posted: every node is paid, by strangers' calls alone."""
    pair = stage.bring(State.LEASED)
    task = pair.primary.batch.task
    stage.market.withdrawEscrow(task.id, stage.escrow(task), stage.requester, sender=stage.requester)
    stage.commit(pair.primary)
    stage.after_draw(pair.primary)
    stage.reveal(pair.primary)
    stage.pass_deadline(pair.primary)
    stage.finalise(pair.primary)
    stage.market.withdraw(pair.primary.node.id, sender=stage.stranger)
    assert stage.token.balanceOf(pair.primary.node.owner) == pair.primary.pay


def test_a_requester_gains_nothing_from_a_slash(stage: Stage) -> None:
    """Not as an accomplice of the prover, whatever was convicted."""
    for victim in ("primary", "replica"):
        with stage.chain.undone():
            pair = stage.bring(State.CONTESTED)
            lease = pair.primary if victim == "primary" else pair.replica
            assert lease
            batch = pair.primary.batch
            before = stage.escrow(batch.task) + stage.reserve(batch.id)
            stage.convict(lease)
            assert stage.escrow(batch.task) + stage.reserve(batch.id) == before


def test_an_own_node_of_the_requester_gains_nothing_by_being_late(stage: Stage) -> None:
    """Half of the penalty comes back to its escrow; the other half is burnt."""
    primary = stage.bring(State.LEASED).primary
    supply = stage.token.totalSupply()
    stage.pass_deadline(primary)
    stage.expire(primary)
    assert supply - stage.token.totalSupply() == primary.penalty - primary.penalty // 2 > 0


# Time


def test_a_clock_that_jumps_slashes_nobody(stage: Stage) -> None:
    """The chain stalled for a day: every node still has its 32 blocks in which to act."""
    pair = stage.bring(State.BOTH)
    alone = stage.lease(stage.batch(), stage.node("carol"))
    assert pair.replica
    stage.chain.jump(86_400)
    assert not stage.expire(pair.primary, pair.replica, alone).events
    stage.commit(alone)
    stage.reveal(pair.replica)
    stage.chain.jump(86_400)
    assert not stage.expire(pair.primary).events
    stage.reveal_paired(pair.primary, pair.replica)
    stage.chain.jump(86_400)
    assert not stage.finalise(pair.primary).events
    stage.open_game(pair.primary)


def test_fast_blocks_slash_nobody(stage: Stage) -> None:
    """A thousand blocks in no time: the seconds still count."""
    pair = stage.bring(State.BOTH, revealSeconds=10_000)
    assert pair.replica
    stage.chain.mine(1000)
    assert not stage.expire(pair.primary, pair.replica).events
    stage.reveal(pair.replica)


def test_squatting_costs_the_late_penalty(stage: Stage) -> None:
    """Leasing all grains and doing nothing: each time a penalty, and the work is free again."""
    batch = stage.batch(grains=4)
    mallory = stage.node("mallory")
    cost = 0
    for _ in range(3):
        squatted = stage.lease(batch, mallory)
        assert stage.free(batch) == 0
        stage.pass_deadline(squatted)
        stage.expire(squatted)
        cost += squatted.stake * batch.terms.lateBp // 10_000
        assert stage.free(batch) == 0b1111
        assert stage.node_info(mallory).stake == STAKE - cost


def test_an_open_task_has_no_way_round_its_deadline(stage: Stage) -> None:
    """A lease of it cannot commit its way out of commitBy, nor reveal late."""
    primary = stage.bring(State.LEASED, flags=OPEN, feePercent=0).primary
    with reverts("OpenTask", primary.id):
        stage.commit(primary)
    stage.pass_deadline(primary)
    with reverts("DeadlinePassed", primary.id, ...):
        stage.reveal(primary)
    stage.expire(primary)


# Contracts


def test_nobody_is_called_back(stage: Stage) -> None:
    """Token transfers call nobody, so there is nothing to enter again: a payee that is a contract runs no code."""
    primary = stage.bring(State.REVEALED, alone=True).primary
    stage.registry.setPayee(primary.node.id, stage.market.address, sender=primary.node.owner)
    stage.pass_deadline(primary)
    stage.finalise(primary)
    trap = person("a contract that would revert if it were called")
    stage.chain.rpc("anvil_setCode", trap, "0xfe")
    stage.registry.setPayee(primary.node.id, trap, sender=primary.node.owner)
    stage.market.withdraw(primary.node.id, sender=stage.stranger)
    assert stage.token.balanceOf(trap) == primary.pay


def test_nobody_judges_or_seizes_by_way_of_multicall(stage: Stage) -> None:
    """It calls as its caller, so it lends nobody the market's own standing with the registry."""
    primary = stage.bring(State.REVEALED, alone=True).primary
    for call in (stage.market.convict.encode(primary.id), stage.market.gameOpened.encode(primary.id)):
        with reverts("NotArbiter", stage.stranger):
            stage.market.multicall([call], ALL, sender=stage.stranger)
    seize = stage.registry.seize.encode(primary.node.id, primary.stake, primary.stake, 0, 0)
    receipt = stage.market.multicall([seize], 0, sender=stage.stranger)
    assert receipt.named("CallFailed") and not receipt.named("StakeTaken")
    with reverts("NotArbiter", stage.market.address):
        stage.market.convict(primary.id, sender=stage.market.address)


def test_huge_terms_wrap_nothing(stage: Stage) -> None:
    """A price at which stakes and fees exceed 96 bits: leasing asks for all of it, and nobody has it."""
    price = 10**24
    task = stage.task(Terms(price=price, stakeFactor=65535, feePercent=0), escrow=10**26)
    batch = stage.post(task, grains=1, size=64)
    node = stage.node("alice")
    needed = 65535 * price * 64 // 100
    assert needed == batch.stake(64)
    with reverts("StakeShort", node.id, needed, STAKE):
        stage.lease(batch, node)


def test_a_market_has_no_back_door(stage: Stage) -> None:
    """Every function that changes anything is one of these; none names another judge, registry, token or owner."""

    def changing(contract: Contract) -> set[str]:
        return {name for name, function in vars(contract).items() if getattr(function, "view", None) is False}

    assert changing(stage.market) == {
        *("create", "deposit", "withdrawEscrow", "post", "close", "bar", "call"),
        *("lease", "commit", "take", "reveal", "revealPaired", "finalise", "expire", "resolve", "withdraw"),
        *("gameOpened", "gameClosed", "convict", "multicall", "permit", "setPaused", "renounceGuardian"),
    }
    assert changing(stage.registry) == {
        *("register", "setOperator", "setPayee", "describe", "addStake", "unbond", "cancelUnbond", "withdrawStake"),
        *("permit", "lock", "lockReplica", "unlock", "seize", "setDeposited"),
    }
    assert changing(stage.arbiter) == {"nodeRegistered", "testify"}
