// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {INodeRegistry} from "../../contracts/interfaces/INodeRegistry.sol";
import {BatchInfo, ITaskMarket, LeaseInfo, LeaseState, TaskInfo, Terms} from "../../contracts/interfaces/ITaskMarket.sol";
import {LeaseId} from "../../contracts/types/LeaseId.sol";
import {between, requireAtMost, requireEqual, requireThat} from "./Assertions.sol";
import {vm} from "./Cheatcodes.sol";
import {MarketBooks} from "./MarketBooks.sol";
import {WilfulJudge} from "./MarketStage.sol";
import {PaddedTree} from "./PaddedTree.sol";

/// @notice What people do, as forge chooses: requesters, nodes that are honest, lie or are late, a wilful judge, the
/// guardian, strangers, and time. An act may be refused with a reason; a panic is a bug.
contract MarketHandler is MarketBooks {
    uint256 private constant MOST_TASKS = 3;
    uint256 private constant MOST_BATCHES = 7;
    uint256 private constant DEADLINE_BLOCKS = 32;
    uint256 private constant OPEN = 1;

    /// @dev Whether a call to the market goes through `multicall`.
    bool private _bundled;

    function _prepareJudge() internal virtual override {}

    function _newJudge(address) internal virtual override returns (address) {
        return address(new WilfulJudge());
    }

    /// @dev Whether the judge's calls are made in its name, without a cause.
    function _wilful() internal pure virtual returns (bool) {
        return true;
    }

    /* REQUESTERS */

    /// @dev A task, and its first batch.
    function create(uint256 seed) external {
        _create(seed);
    }

    function _create(uint256 seed) private {
        if (market.taskCount() == MOST_TASKS) return;
        seed = _mixed(seed);
        address requester = _requester(seed);
        uint96 amount = seed % 8 == 0 ? 0 : uint96(between(seed >> 8, 1, 1e22));
        _fund(requester, amount, address(market));
        Terms memory terms = _someTerms(_mixed(seed));
        (bool made,) = _attempt(requester, abi.encodeCall(market.create, (terms, "", amount)));
        if (made) _post(market.taskCount(), requester, seed);
    }

    function deposit(uint256 taskSeed, uint96 amount, bool byStranger) external {
        (uint40 task, TaskInfo memory info) = _someTask(taskSeed);
        if (task == 0) return;
        amount = uint96(between(amount, 0, 1e22));
        address who = byStranger ? STRANGER : info.requester;
        _fund(who, amount, address(market));
        uint256[] memory before = _wealth();
        _attempt(who, abi.encodeCall(market.deposit, (task, amount)));
        _requireNobodyLost(before, 0, NODES + REQUESTERS);
    }

    function withdrawEscrow(uint256 taskSeed, uint256 amountSeed) external {
        (uint40 task, TaskInfo memory info) = _someTask(taskSeed);
        amountSeed = _mixed(amountSeed);
        if (task == 0) return;
        uint96 amount = uint96(between(amountSeed, 0, uint256(info.escrow) + 1));
        uint256[] memory before = _wealth();
        _attempt(info.requester, abi.encodeCall(market.withdrawEscrow, (task, amount, info.requester)));
        _requireNobodyLost(before, 0, NODES + REQUESTERS);
    }

    function post(uint256 taskSeed, uint256 seed) external {
        (uint40 task, TaskInfo memory info) = _someTask(taskSeed);
        if (task != 0 && market.batchCount() < MOST_BATCHES) _post(task, info.requester, _mixed(seed));
    }

    function _post(uint40 task, address requester, uint256 seed) private {
        (uint8 grains, uint8 size) = (uint8(between(seed, 1, 5)), uint8(between(seed >> 128, 1, 3)));
        uint256[] memory before = _wealth();
        _attempt(requester, abi.encodeCall(market.post, (task, _planRoot(grains, size), grains, size)));
        _requireNobodyLost(before, 0, NODES + REQUESTERS);
    }

    function close(uint256 batchSeed, uint256 seed) external {
        (uint40 batch, BatchInfo memory info) = _someBatch(batchSeed);
        if (batch == 0 || _mixed(seed) % 4 != 0) return;
        uint256[] memory before = _wealth();
        _attempt(market.taskOf(info.task).requester, abi.encodeCall(market.close, (batch)));
        _requireNobodyLost(before, 0, NODES + REQUESTERS);
    }

    function bar(uint256 taskSeed, uint256 nodeSeed, bool barred) external {
        (uint40 task, TaskInfo memory info) = _someTask(taskSeed);
        if (task != 0) _attempt(info.requester, abi.encodeCall(market.bar, (task, _someNode(nodeSeed), barred)));
    }

    function call(uint256 leaseSeed, bool byWatcher) external {
        (LeaseId id, LeaseInfo memory info) = _someLease(leaseSeed);
        if (info.state == LeaseState.Free) return;
        address requester = market.taskOf(market.batchOf(info.batch).task).requester;
        _attempt(byWatcher ? WATCHER : requester, abi.encodeCall(market.call, (id)));
    }

    /* NODES */

    /// @dev A few leases, and so many steps of the life of each.
    function lease(uint256 batchSeed, uint256 seed) external {
        _leaseSome(batchSeed, seed);
    }

    function _leaseSome(uint256 batchSeed, uint256 seed) internal {
        if (market.batchCount() < 2) _create(seed);
        for (uint256 i; i < 3; ++i) {
            seed = _mixed(seed);
            (bool leased, LeaseId id) = _lease(i == 0 ? batchSeed : seed, seed);
            for (uint256 steps = (seed >> 128) % 8; leased && steps != 0; --steps) _step(id, seed = _mixed(seed));
        }
    }

    function _lease(uint256 batchSeed, uint256 seed) private returns (bool leased, LeaseId id) {
        (uint40 batch, BatchInfo memory info) = _someBatch(batchSeed);
        if (batch == 0) return (false, id);
        uint32 node = _someNode(seed >> 16);
        uint8 first = uint8(between(seed, 0, info.grains - 1));
        // Mostly where there is a free grain.
        for (uint256 i; i < info.grains && seed % 8 != 0 && (info.free >> first) & 1 == 0; ++i) {
            first = (first + 1) % info.grains;
        }
        uint8 grains = uint8(between(seed >> 64, 1, 3));
        bytes memory result;
        (leased, result) =
            _attempt(_operatorOf(node), abi.encodeCall(market.lease, (batch, first, grains, node, uint8((seed >> 32) % 30))));
        if (!leased) return (false, id);
        id = abi.decode(result, (LeaseId));
        leases.push(id);
    }

    function advance(uint256 leaseSeed, uint256 seed) external {
        (LeaseId id,) = _someLiveLease(leaseSeed);
        for (uint256 i; i < 3 && LeaseId.unwrap(id) != 0; ++i) _step(id, seed = _mixed(seed));
    }

    function withdraw(uint256 nodeSeed) external {
        uint256[] memory before = _wealth();
        _attempt(STRANGER, abi.encodeCall(market.withdraw, (_someNode(nodeSeed))));
        _requireNobodyLost(before, 0, NODES + REQUESTERS);
    }

    function restake(uint256 nodeSeed, uint256 kind, uint256 amountSeed) external {
        uint32 node = _someNode(nodeSeed);
        address owner = _owner(node - 1);
        uint96 amount = uint96(between(amountSeed, 0, STAKE));
        uint256[] memory before = _wealth();
        if (kind % 4 == 0) _attemptAt(address(registry), owner, abi.encodeCall(registry.unbond, (node, amount)));
        if (kind % 4 == 1) _attemptAt(address(registry), owner, abi.encodeCall(registry.addStake, (node, amount)));
        if (kind % 4 == 2) _attemptAt(address(registry), owner, abi.encodeCall(registry.cancelUnbond, (node)));
        if (kind % 4 == 3) _attemptAt(address(registry), STRANGER, abi.encodeCall(registry.withdrawStake, (node)));
        _requireNobodyLost(before, 0, NODES + REQUESTERS);
    }

    /// @dev The next step of a lease's life, at a moment when it is possible, unless its deadline has passed.
    function _step(LeaseId id, uint256 seed) private {
        LeaseInfo memory info = market.leaseOf(id);
        if (info.replica) {
            if (LeaseId.unwrap(info.peer) == 0) return;
            (id, info) = (info.peer, market.leaseOf(info.peer));
        }
        Terms memory terms = _termsOf(info);
        bool alone = LeaseId.unwrap(info.peer) == 0;
        if (info.state == LeaseState.Leased && terms.flags & OPEN != 0) _reveal(id);
        else if (info.state == LeaseState.Leased) _commit(id);
        else if (info.state == LeaseState.Committed && seed % 3 == 0) _callIt(id, info);
        else if (info.state == LeaseState.Committed || info.state == LeaseState.Called) _takeOrReveal(id, info, terms, seed);
        else if (info.state == LeaseState.Paired) alone ? _reveal(id) : _commit(info.peer);
        else if (info.state == LeaseState.Both) _reveal(alone ? id : info.peer);
        else if (info.state == LeaseState.HalfRevealed) _revealPaired(id);
    }

    function _callIt(LeaseId id, LeaseInfo memory info) private {
        address requester = market.taskOf(market.batchOf(info.batch).task).requester;
        _attempt(requester, abi.encodeCall(market.call, (id)));
    }

    function _commit(LeaseId id) private {
        bytes32 commitment = keccak256(
            abi.encode(
                block.chainid,
                address(market),
                uint40(LeaseId.unwrap(id) >> 32),
                uint32(LeaseId.unwrap(id)),
                _rootOf(id),
                _salt(id)
            )
        );
        _attempt(_operatorOf(id.node()), abi.encodeCall(market.commit, (id, commitment)));
    }

    /// @dev Whichever the draw allows, once anybody may take.
    function _takeOrReveal(LeaseId id, LeaseInfo memory info, Terms memory terms, uint256 seed) private {
        _rollTo(uint256(info.blockNumber) + terms.drawDelay + terms.lotteryBlocks / 2 + 1);
        uint32 node = _someNode(seed >> 8);
        bytes memory data = abi.encodeCall(market.take, (id, node, uint8(30 + (seed >> 16) % 30), 0));
        (bool taken, bytes memory result) = _attempt(_operatorOf(node), data);
        if (taken) leases.push(abi.decode(result, (LeaseId)));
        else _reveal(id);
    }

    function _reveal(LeaseId id) private {
        _attempt(_operatorOf(id.node()), abi.encodeCall(market.reveal, (id, _rootOf(id), _salt(id))));
    }

    function _revealPaired(LeaseId id) private {
        LeaseInfo memory info = market.leaseOf(id);
        bytes32[] memory entries = _entries(id, info);
        uint256 level = _blockLog2(info, entries.length);
        bytes32 node = PaddedTree.level(entries, level)[info.drawnBlock];
        bytes32[] memory path = PaddedTree.path(entries, level, info.drawnBlock);
        _attempt(
            _operatorOf(id.node()), abi.encodeCall(market.revealPaired, (id, _rootOf(id), _salt(id), node, path))
        );
    }

    /* THE JUDGE */

    function openGame(uint256 leaseSeed) external {
        (LeaseId id,) = _someLiveLease(leaseSeed);
        _attempt(judge, abi.encodeCall(market.gameOpened, (id)));
    }

    function closeGame(uint256 leaseSeed) external {
        (LeaseId id,) = _someLiveLease(leaseSeed);
        _attempt(judge, abi.encodeCall(market.gameClosed, (id)));
    }

    /// @dev At least half of a conviction's stake burns, and no requester pays for it.
    function convict(uint256 leaseSeed) external {
        (LeaseId id, LeaseInfo memory info) = _someLiveLease(leaseSeed);
        (uint256 supply, uint256 held) = (token.totalSupply(), token.balanceOf(judge));
        uint256[] memory before = _wealth();
        (bool convicted,) = _attempt(judge, abi.encodeCall(market.convict, (id)));
        if (!convicted) return;
        ++left[market.convict.selector][info.state];
        requireAtMost("half", info.stake, 2 * (supply - token.totalSupply()));
        requireEqual("bounty", token.balanceOf(judge) - held, info.stake / 4);
        _requireNobodyLost(before, NODES, NODES + REQUESTERS);
        requireThat("slashed", market.leaseOf(id).state == LeaseState.Slashed);
    }

    /* EXITS, BY A STRANGER */

    /// @dev No node loses by what becomes final.
    function finalise(uint256 seed) external {
        _leave(market.finalise.selector, seed, 0, NODES);
    }

    /// @dev No requester loses by what nobody finished.
    function expire(uint256 seed) external {
        _leave(market.expire.selector, seed, NODES, NODES + REQUESTERS);
    }

    function resolve(uint256 seed) external {
        _leave(market.resolve.selector, seed, NODES, NODES + REQUESTERS);
    }

    /// @dev That exit, for some leases, by which these must not lose.
    function _leave(bytes4 exit, uint256 seed, uint256 first, uint256 end) private {
        LeaseId[] memory some = _someLeases(_mixed(seed));
        LeaseState[] memory states = new LeaseState[](some.length);
        for (uint256 i; i < some.length; ++i) states[i] = market.leaseOf(some[i]).state;
        uint256[] memory before = _wealth();
        (bool passed,) = _attempt(STRANGER, abi.encodeWithSelector(exit, some));
        requireThat("an exit skips what is not ready", passed);
        _requireNobodyLost(before, first, end);
        for (uint256 i; i < some.length; ++i) {
            if (states[i] == LeaseState.Free) continue;
            if (market.leaseOf(some[i]).state == LeaseState.Free) ++left[exit][states[i]];
        }
    }

    /* OTHERS */

    function give(bool toRegistry, uint96 amount) external {
        address to = toRegistry ? address(registry) : address(market);
        amount = uint96(between(amount, 0, 1e18));
        require(token.transfer(to, amount), "the treasury pays");
        gifts[to] += amount;
    }

    function pause(uint256 seed) external {
        (bool set,) = _attempt(GUARDIAN, abi.encodeCall(market.setPaused, (_mixed(seed) % 8 == 0)));
        requireThat("guardian", set);
    }

    function bundle(bool bundled) external {
        _bundled = bundled;
    }

    /// @dev By the clock, in blocks, or to the last moment before or the first after a deadline.
    function wait(uint256 kind, uint256 leaseSeed, uint256 amount) external {
        amount = between(amount, 1, 400);
        uint256 block_ = vm.getBlockNumber();
        if (kind % 4 == 0) return vm.warp(vm.getBlockTimestamp() + amount * 10);
        if (kind % 4 == 1) return vm.roll(block_ + amount);
        (, LeaseInfo memory info) = _someLiveLease(leaseSeed);
        if (info.state == LeaseState.Free) return;
        Terms memory terms = _termsOf(info);
        uint256 blocks = DEADLINE_BLOCKS;
        if (info.state == LeaseState.Committed || info.state == LeaseState.Called) {
            blocks += terms.drawDelay + terms.lotteryBlocks;
        }
        uint256 turn = (kind >> 8) % 3 == 0 ? 1 : 0;
        uint256 passed = kind % 4 == 2 ? 1 : 0;
        _rollTo(info.blockNumber + blocks * (1 + turn) + passed);
        _warpTo(info.deadline + terms.revealSeconds * turn + passed);
    }

    /// @dev What only its own person may do, tried by somebody else, is refused, whatever the moment.
    function trespass(uint256 kind, uint256 leaseSeed, uint256 seed) external {
        bool atRegistry = kind % 3 == 0;
        bytes memory data = atRegistry ? _ownersAct(kind / 3, seed) : _partysAct(kind / 3, leaseSeed, seed);
        if (data.length == 0) return;
        (bool admitted,) = _attemptAt(atRegistry ? address(registry) : address(market), STRANGER, data);
        requireThat("a stranger was let in", !admitted);
    }

    function _ownersAct(uint256 kind, uint256 seed) private view returns (bytes memory) {
        uint32 node = _someNode(seed);
        uint96 amount = uint96(between(seed >> 8, 0, 1e18));
        kind %= 11;
        if (kind == 0) return abi.encodeCall(registry.setOperator, (node, STRANGER));
        if (kind == 1) return abi.encodeCall(registry.setPayee, (node, STRANGER));
        if (kind == 2) return abi.encodeCall(registry.describe, (node, "", ""));
        if (kind == 3) return abi.encodeCall(registry.addStake, (node, 0));
        if (kind == 4) return abi.encodeCall(registry.unbond, (node, amount));
        if (kind == 5) return abi.encodeCall(registry.cancelUnbond, (node));
        if (kind == 6) return abi.encodeCall(INodeRegistry.lock, (node, _owner(node - 1), amount));
        if (kind == 7) return abi.encodeCall(INodeRegistry.lockReplica, (node, _owner(node - 1), amount));
        if (kind == 8) return abi.encodeCall(INodeRegistry.unlock, (node, 0));
        if (kind == 9) return abi.encodeCall(INodeRegistry.seize, (node, 0, 0, 0, 0));
        return abi.encodeCall(INodeRegistry.setDeposited, (node, amount % 2 == 0));
    }

    function _partysAct(uint256 kind, uint256 leaseSeed, uint256 seed) private view returns (bytes memory) {
        kind %= 13;
        if (kind == 0) return abi.encodeCall(market.setPaused, (seed % 2 == 0));
        if (kind == 1) return abi.encodeCall(market.renounceGuardian, ());
        (uint40 batch, BatchInfo memory info) = _someBatch(seed);
        if (batch == 0) return "";
        if (kind == 2) return abi.encodeCall(market.withdrawEscrow, (info.task, 0, STRANGER));
        if (kind == 3) return abi.encodeCall(market.post, (info.task, keccak256("plan"), 1, 1));
        if (kind == 4) return abi.encodeCall(market.close, (batch));
        if (kind == 5) return abi.encodeCall(market.bar, (info.task, 1, true));
        if (kind == 6) return abi.encodeCall(market.lease, (batch, uint8(seed >> 16) % info.grains, 1, 1, 9));
        (LeaseId id, LeaseInfo memory leased) = _someLiveLease(leaseSeed);
        if (leased.state == LeaseState.Free) return "";
        if (kind == 7) return abi.encodeCall(market.call, (id));
        if (kind == 8) return abi.encodeCall(market.commit, (id, keccak256("commitment")));
        if (kind == 9) return abi.encodeCall(market.take, (id, 1, 9, 0));
        if (kind == 10) return abi.encodeCall(market.gameOpened, (id));
        if (kind == 11) return abi.encodeCall(market.gameClosed, (id));
        return abi.encodeCall(market.convict, (id));
    }

    /// @dev Anything about any life of a slot, over or not, by anybody who may do something.
    function outOfTurn(uint256 kind, uint256 leaseSeed, bytes32 word) external {
        (LeaseId id,) = _someLease(leaseSeed);
        if (LeaseId.unwrap(id) == 0) return;
        kind %= 6;
        address who = _operatorOf(id.node());
        if (kind == 0) _commit(id);
        if (kind == 1) _attempt(who, abi.encodeCall(market.commit, (id, word)));
        if (kind == 2) _attempt(STRANGER, abi.encodeCall(market.reveal, (id, word, _salt(id))));
        if (kind == 3 && market.leaseOf(id).state != LeaseState.Free) _reveal(id);
        if (kind == 4 && market.leaseOf(id).state != LeaseState.Free) _revealPaired(id);
        if (kind == 5 && _wilful()) _attempt(judge, abi.encodeCall(market.convict, (id)));
    }

    /* IN THE END */

    /// @dev With the market paused for ever, requesters take their refunds and strangers use the exits; then no lease is
    /// left, and nothing but gifts. That the judge closes its games is the judge's part.
    function windDown() external virtual {
        _windDown();
    }

    function _windDown() internal {
        vm.prank(GUARDIAN);
        market.setPaused(true);
        _bundled = false;
        for (uint40 batch = 1; batch <= market.batchCount(); ++batch) {
            _attempt(market.taskOf(market.batchOf(batch).task).requester, abi.encodeCall(market.close, (batch)));
        }
        _endGames();
        for (uint256 round; round < 2; ++round) {
            _rollTo(vm.getBlockNumber() + 1000);
            _warpTo(vm.getBlockTimestamp() + 10_000_000);
            vm.prank(STRANGER);
            market.expire(leases);
            vm.prank(STRANGER);
            market.resolve(leases);
            vm.prank(STRANGER);
            market.finalise(leases);
        }
        _requireNoLeaseLeft();
        _payOut();
        requireEqual("market in the end", token.balanceOf(address(market)), gifts[address(market)]);
        requireEqual("registry in the end", token.balanceOf(address(registry)), gifts[address(registry)]);
    }

    function _endGames() internal virtual {
        for (uint256 i; i < leases.length; ++i) {
            for (uint256 games = market.leaseOf(leases[i]).games; games != 0; --games) {
                vm.prank(judge);
                market.gameClosed(leases[i]);
            }
        }
    }

    function _requireNoLeaseLeft() private view {
        for (uint256 i; i < leases.length; ++i) {
            requireThat("stuck", !_isLive(market.leaseOf(leases[i])));
            (, bool free) = market.slotOf(leases[i].node(), uint8(LeaseId.unwrap(leases[i]) >> 32));
            requireThat("slot", free);
        }
        for (uint40 batch = 1; batch <= market.batchCount(); ++batch) {
            requireEqual("unsettled in the end", market.batchOf(batch).unsettled, 0);
            requireEqual("reserved in the end", _reserve(batch), 0);
        }
    }

    function _payOut() private {
        for (uint40 task = 1; task <= market.taskCount(); ++task) {
            TaskInfo memory info = market.taskOf(task);
            vm.prank(info.requester);
            market.withdrawEscrow(task, info.escrow, info.requester);
        }
        for (uint32 node = 1; node <= NODES; ++node) {
            if (market.balanceOf(node) != 0) market.withdraw(node);
            uint96 stake = registry.nodeOf(node).stake;
            vm.prank(_owner(node - 1));
            registry.unbond(node, stake);
        }
        vm.warp(vm.getBlockTimestamp() + UNBONDING_SECONDS);
        for (uint32 node = 1; node <= NODES; ++node) {
            if (registry.nodeOf(node).unbonding != 0) registry.withdrawStake(node);
        }
    }

    /* CALLS */

    function _attempt(address who, bytes memory data) internal returns (bool success, bytes memory result) {
        if (_bundled) {
            bytes[] memory calls = new bytes[](1);
            calls[0] = data;
            (success, result) = _attemptAt(address(market), who, abi.encodeCall(market.multicall, (calls, 1)));
            if (success) result = abi.decode(result, (bytes[]))[0];
        } else {
            (success, result) = _attemptAt(address(market), who, data);
        }
        if (success) ++done[bytes4(data)];
    }

    function _attemptAt(address target, address who, bytes memory data)
        internal
        returns (bool success, bytes memory result)
    {
        vm.prank(who);
        (success, result) = target.call(data);
        if (success) return (success, result);
        requireThat("refused without a reason", result.length >= 4);
        requireThat("panic", bytes4(result) != bytes4(keccak256("Panic(uint256)")));
    }

    function _requireNobodyLost(uint256[] memory before, uint256 first, uint256 end) private view {
        uint256[] memory wealth = _wealth();
        for (uint256 i = first; i < end; ++i) requireAtMost("wealth before", before[i], wealth[i]);
    }

    /* CHOICES */

    /// @dev Forge likes small numbers and those that it has seen: not where single bits of them choose.
    function _mixed(uint256 seed) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed)));
    }

    function _someTerms(uint256 seed) private view returns (Terms memory terms) {
        terms.price = uint96([1, 7, 1e18 + 7][seed % 3]);
        terms.computeSeconds = uint24(between(seed >> 8, 1, 100));
        terms.revealSeconds = uint24(between(seed >> 16, 1, 100));
        terms.moveTime = uint24(between(seed >> 24, 1, 100));
        terms.challengeSeconds = uint24(between(seed >> 32, 1, 500));
        terms.stakeFactor = uint16(between(seed >> 40, 1, 300));
        terms.lateBp = uint16(between(seed >> 56, 100, 2000));
        terms.drawDelay = uint8(between(seed >> 80, 1, 5));
        terms.lotteryBlocks = uint8(between(seed >> 88, 1, 20));
        terms.blockLog2 = (seed >> 96) % 3 == 0 ? 255 : uint8(between(seed >> 100, 0, 4));
        terms.maxGrains = uint8(between(seed >> 112, 1, 4));
        terms.flags = uint8((seed >> 120) % 4 == 0 ? (seed >> 124) % 8 : (seed >> 124) % 4 * 2);
        terms.watcher = WATCHER;
        if (terms.flags & OPEN != 0) return terms;
        terms.drawBp = uint16([0, 5000, 10_000][(seed >> 132) % 3]);
        terms.feePercent = uint16(between(seed >> 140, 0, 120));
    }

    function _someNode(uint256 seed) internal pure returns (uint32) {
        return uint32(1 + seed % NODES);
    }

    function _someTask(uint256 seed) private view returns (uint40 task, TaskInfo memory info) {
        uint40 count = market.taskCount();
        if (count == 0) return (0, info);
        task = uint40(1 + seed % count);
        info = market.taskOf(task);
    }

    function _someBatch(uint256 seed) private view returns (uint40 batch, BatchInfo memory info) {
        uint40 count = market.batchCount();
        if (count == 0) return (0, info);
        batch = uint40(1 + seed % count);
        info = market.batchOf(batch);
    }

    function _someLease(uint256 seed) internal view returns (LeaseId id, LeaseInfo memory info) {
        if (leases.length == 0) return (id, info);
        id = leases[seed % leases.length];
        info = market.leaseOf(id);
    }

    /// @dev The first that lives from a place on; else any.
    function _someLiveLease(uint256 seed) internal view returns (LeaseId id, LeaseInfo memory info) {
        for (uint256 i; i < leases.length; ++i) {
            (id, info) = _someLease(seed % leases.length + i);
            if (_isLive(info)) return (id, info);
        }
    }

    /// @dev Each with an even chance, or all.
    function _someLeases(uint256 seed) private view returns (LeaseId[] memory some) {
        if (seed % 4 == 0) return leases;
        some = new LeaseId[](leases.length);
        uint256 count;
        for (uint256 i; i < leases.length; ++i) {
            if ((seed >> (i % 200)) & 8 != 0) some[count++] = leases[i];
        }
        assembly ("memory-safe") {
            mstore(some, count)
        }
    }

    /* RESULTS */

    function _termsOf(LeaseInfo memory info) private view returns (Terms memory) {
        return market.taskOf(market.batchOf(info.batch).task).terms;
    }

    function _salt(LeaseId id) private pure returns (bytes32) {
        return keccak256(abi.encode("salt", id));
    }

    /// @dev Result hashes of the lease's shards (a replica's: of all of its primary's).
    function _entries(LeaseId id, LeaseInfo memory info) internal view returns (bytes32[] memory entries) {
        uint256 size = market.batchOf(info.batch).size;
        entries = new bytes32[](info.grains * size);
        for (uint256 i; i < entries.length; ++i) entries[i] = _result(info.first * size + i, _lies(id));
    }

    /// @dev The third node always lies.
    function _lies(LeaseId id) internal pure returns (bool) {
        return id.node() == 3;
    }

    function _planRoot(uint256, uint256) internal view virtual returns (bytes32) {
        return keccak256("plan");
    }

    function _result(uint256 shard, bool lie) internal view virtual returns (bytes32) {
        return keccak256(abi.encode(shard, lie));
    }

    /// @dev What the lease reveals: its list's root, or a replica's node.
    function _rootOf(LeaseId id) private view returns (bytes32) {
        LeaseInfo memory info = market.leaseOf(id);
        if (info.state == LeaseState.Free) return keccak256("nothing");
        bytes32[] memory entries = _entries(id, info);
        if (info.replica) return PaddedTree.level(entries, _blockLog2(info, entries.length))[info.drawnBlock];
        return PaddedTree.finalised(2, entries.length, PaddedTree.root(entries));
    }

    function _blockLog2(LeaseInfo memory info, uint256 shards) internal view returns (uint256 log2) {
        log2 = PaddedTree.height(shards);
        uint256 most = _termsOf(info).blockLog2;
        if (most < log2) log2 = most;
    }
}
