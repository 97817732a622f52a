// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    Conviction,
    Demand,
    DemandBook,
    Evidence,
    Game,
    GameBook,
    IDisputeCourt,
    Interval,
    Item,
    NodeBook,
    Opening,
    Phase,
    Pick,
    Precommitment,
    Side
} from "../../contracts/interfaces/IDisputeCourt.sol";
import {States} from "../../contracts/dispute/States.sol";
import {LeaseInfo, LeaseState} from "../../contracts/interfaces/ITaskMarket.sol";
import {LeaseId} from "../../contracts/types/LeaseId.sol";
import {between, requireEqual, requireThat} from "./Assertions.sol";
import {Log, deploy, vm} from "./Cheatcodes.sol";
import {CourtWorld} from "./CourtWorld.sol";
import {MarketHandler} from "./MarketHandler.sol";
import {PaddedTree} from "./PaddedTree.sol";
import {RejectingReceiver, ReentrantReceiver, WastefulReceiver} from "./Receivers.sol";

/// @notice The market's people with the court as their judge: challengers right and wrong, defenders, demands, deposits,
/// receivers that refuse, waste or call back, and gas at any price.
contract CourtHandler is MarketHandler {
    uint256 private constant CHALLENGERS = 4;
    uint96 private constant GAS_PRICE_CAP = 30 gwei;
    uint256 private constant CLOCK_BLOCKS = 32;

    address private _evaluator;
    address private _validity;
    bytes32[] public games;
    mapping(bytes32 game => bool) private _known;
    /// @dev The state of each game as it was announced last.
    mapping(bytes32 game => bytes) private _states;
    Demand[] private _demands;
    /// @dev ETH that the court was given without a call.
    uint256 private _ethGifts;

    constructor() {
        vm.fee(10 gwei);
        for (uint32 node = 1; node <= NODES; ++node) {
            vm.deal(address(this), 100 ether);
            _court().deposit{value: _court().gamePrice() * 5}(node);
        }
        vm.etch(_challenger(1), type(RejectingReceiver).runtimeCode);
        vm.etch(_challenger(2), type(ReentrantReceiver).runtimeCode);
        vm.etch(_operator(1), type(ReentrantReceiver).runtimeCode);
        vm.etch(_operator(2), type(WastefulReceiver).runtimeCode);
        vm.etch(_owner(2), type(RejectingReceiver).runtimeCode);
    }

    function _prepareJudge() internal override {
        _evaluator = deploy("NodeEvaluator.sol:NodeEvaluator", "");
        _validity = deploy("ProgramValidity.sol:ProgramValidity", "");
    }

    function _newJudge(address marketAt) internal override returns (address) {
        bytes memory arguments = abi.encode(token, registry, marketAt, _evaluator, _validity, GAS_PRICE_CAP);
        return deploy("DisputeCourt.sol:DisputeCourt", arguments);
    }

    function _wilful() internal pure override returns (bool) {
        return false;
    }

    function _court() private view returns (IDisputeCourt) {
        return IDisputeCourt(judge);
    }

    function _challenger(uint256 index) private pure returns (address) {
        return _person("challenger", index % CHALLENGERS);
    }

    function _planRoot(uint256 grains, uint256 size) internal pure override returns (bytes32) {
        return CourtWorld.planRoot(grains * size);
    }

    function _result(uint256 shard, bool lie) internal pure override returns (bytes32) {
        return CourtWorld.result(shard, lie ? 1 : 0);
    }

    /* GAMES */

    function open(uint256 leaseSeed, uint256 seed) external {
        seed = _mixed(seed);
        (LeaseId id, LeaseInfo memory info) = _someAccusable(leaseSeed);
        if (info.state != LeaseState.Revealed && info.state != LeaseState.Contested) return _leaseSome(leaseSeed, seed);
        uint16 position = uint16(between(seed, 0, info.shards - 1));
        address challenger = _challenger(seed >> 32);
        Precommitment memory given;
        if ((seed >> 64) % 3 != 0) given = _precommit(id, info, position, challenger);
        uint256 value = _court().bondOf(id, challenger) + [0, 0, 5][(seed >> 72) % 3];
        Opening memory opening = _opening(id, info, position);
        bytes memory data = (seed >> 80) % 2 == 0
            ? abi.encodeCall(IDisputeCourt.open, (opening, given))
            : abi.encodeCall(IDisputeCourt.openAt, (opening, given, _interval(id, info, position)));
        (bool opened, bytes memory result) = _attemptCourt(challenger, value, data, seed);
        // Once it is dismissed, a game can be opened again under its name.
        if (opened) _know(abi.decode(result, (bytes32)));
    }

    function _know(bytes32 game) private {
        if (!_known[game]) games.push(game);
        _known[game] = true;
    }

    /// @dev The next move of whoever's turn it is; of a defender sometimes that the program cannot be defended.
    function move(uint256 gameSeed, uint256 seed) external {
        for (uint256 i; i < 3; ++i) _move(gameSeed, seed = _mixed(seed));
    }

    function _move(uint256 gameSeed, uint256 seed) private {
        (bytes32 id, Game memory game) = _someGame(gameSeed);
        if (id == 0 || market.leaseOf(game.lease).state == LeaseState.Free) return;
        bytes memory data;
        if (game.turn == Side.Challenger) data = _challengersMove(id, game);
        else data = seed % 8 == 0 ? _invalid(id) : _defendersMove(id, game);
        address who = game.turn == Side.Challenger ? game.challenger : _operatorOf(game.lease.node());
        if (data.length != 0) _attemptCourt(who, 0, data, seed);
    }

    function timeout(uint256 gameSeed, uint256 seed) external {
        seed = _mixed(seed);
        (bytes32 id,) = _someGame(gameSeed);
        if (id == 0) return;
        if (seed % 2 == 0) _passClock(_court().gameOf(id).deadline, _court().gameOf(id).blockNumber);
        _attemptCourt(STRANGER, 0, abi.encodeCall(IDisputeCourt.timeout, (id, _states[id])), seed);
    }

    function claim(uint256 gameSeed, uint256 hintSeed) external {
        (bytes32 id, Game memory game) = _someConvicted(gameSeed);
        if (id == 0) return;
        bytes32[] memory path = new bytes32[](1);
        path[0] = CourtWorld.checkpoints(_shardOf(game.lease, game.position), 0)[0];
        (bytes32 hint,) = _someGame(hintSeed);
        if (hintSeed % 3 != 0) hint = 0;
        _attemptCourt(game.challenger, 0, abi.encodeCall(IDisputeCourt.claim, (id, _states[id], path, hint)), hintSeed);
    }

    function settle(uint256 leaseSeed, uint256 seed) external {
        (LeaseId id,) = _someLease(leaseSeed);
        seed = _mixed(seed);
        if (games.length != 0 && seed % 4 != 0) {
            (, Game memory game) = _someConvicted(leaseSeed);
            id = game.lease;
        }
        Conviction memory conviction = _court().convictionOf(id);
        if (conviction.time == 0) return;
        if (seed % 2 == 0) _passClock(conviction.time + conviction.moveTime, conviction.blockNumber);
        _attemptCourt(STRANGER, 0, abi.encodeCall(IDisputeCourt.settle, (id, seed % 3)), seed);
    }

    function returnBond(uint256 gameSeed) external {
        (bytes32 id,) = _someConvicted(gameSeed);
        if (id != 0) _attemptCourt(STRANGER, 0, abi.encodeCall(IDisputeCourt.returnBond, (id, _states[id])), gameSeed);
    }

    /* DEMANDS */

    function demand(uint256 leaseSeed, uint256 seed) external {
        seed = _mixed(seed);
        (LeaseId id, LeaseInfo memory info) = _someAccusable(leaseSeed);
        if (!_isLive(info) || info.shards == 0) return;
        Item item = seed % 2 == 0 ? Item.Results : Item.Checkpoints;
        uint16 position = item == Item.Results ? 0 : uint16(between(seed >> 8, 0, info.shards - 1));
        Demand memory wanted = Demand(id, item, position, 0);
        uint256 value = _court().demandPriceOf(id.node()) + [0, 0, 3][(seed >> 72) % 3];
        bytes memory data = abi.encodeCall(IDisputeCourt.demand, (wanted, _opening(id, info, position)));
        (bool demanded,) = _attemptCourt(_challenger(seed >> 32), value, data, seed);
        if (demanded) _demands.push(wanted);
    }

    function answerDemand(uint256 demandSeed, uint256 seed) external {
        if (_demands.length == 0) return;
        Demand memory item = _demands[demandSeed % _demands.length];
        LeaseInfo memory info = market.leaseOf(item.lease);
        if (info.state == LeaseState.Free) return;
        bytes32[] memory none = new bytes32[](0);
        bytes32[] memory entries = CourtWorld.checkpoints(_shardOf(item.lease, item.position), _version(item.lease));
        bytes32[] memory path = _resultPath(item.lease, info, item.position);
        if (item.item == Item.Results) {
            path = none;
            entries = new bytes32[](info.shards);
            for (uint256 i; i < entries.length; ++i) entries[i] = _result(info.firstShard + i, _lies(item.lease));
        }
        bytes memory data = abi.encodeCall(IDisputeCourt.answerDemand, (item, entries, none, path));
        _attemptCourt(_operatorOf(item.lease.node()), 0, data, _mixed(seed));
    }

    function timeoutDemand(uint256 demandSeed, uint256 seed) external {
        if (_demands.length == 0) return;
        Demand memory item = _demands[demandSeed % _demands.length];
        DemandBook memory book = _court().demandOf(_demandId(item));
        if (_mixed(seed) % 2 == 0) _passClock(book.deadline, book.blockNumber);
        _attemptCourt(STRANGER, 0, abi.encodeCall(IDisputeCourt.timeoutDemand, (item)), seed);
    }

    /* ETH */

    function addDeposit(uint256 nodeSeed, uint256 amount) external {
        amount = between(amount, 0, _court().gamePrice() * 3);
        _attemptCourt(STRANGER, amount, abi.encodeCall(IDisputeCourt.deposit, (_someNode(nodeSeed))), amount);
    }

    function withdrawDeposit(uint256 nodeSeed, uint256 seed) external {
        uint32 node = _someNode(nodeSeed);
        seed = _mixed(seed);
        uint96 held = _court().nodeOf(node).deposit;
        uint96 amount = held / uint96([1, 5, 20][seed % 3]);
        address who = seed % 4 == 0 ? STRANGER : _operator(node - 1);
        bytes memory data = abi.encodeCall(IDisputeCourt.withdrawDeposit, (node, amount));
        (bool paid,) = _attemptCourt(who, 0, data, seed >> 8);
        if (paid) requireThat("a stranger was let in", who != STRANGER);
    }

    function refreshDeposit(uint256 nodeSeed) external {
        _attemptCourt(STRANGER, 0, abi.encodeCall(IDisputeCourt.refreshDeposit, (_someNode(nodeSeed))), nodeSeed);
    }

    function withdrawCredit(uint256 index, uint256 seed) external {
        seed = _mixed(seed);
        // Mostly one who has some, to itself.
        for (uint256 i; i < RECEIVERS && _court().creditOf(_receiver(index)) == 0; ++i) index = index % RECEIVERS + 1;
        address who = _receiver(index);
        address to = seed % 4 == 0 ? _receiver(seed >> 8) : who;
        _attemptCourt(who, 0, abi.encodeCall(IDisputeCourt.withdrawCredit, (payable(to))), seed);
    }

    function giveEth(uint256 amount) external {
        amount = between(amount, 0, 1 ether);
        vm.deal(judge, judge.balance + amount);
        _ethGifts += amount;
    }

    /* WHAT MUST HOLD */

    /// @dev All ETH, and every bounty, is somebody's; games are counted alike by everybody.
    function checkCourt() external view {
        uint256 owed = _ethGifts;
        uint256[] memory open_ = new uint256[](NODES + 1);
        for (uint256 i; i < games.length; ++i) {
            GameBook memory book = _court().gameOf(games[i]);
            owed += book.bond;
            LeaseId lease_ = this.unpacked(_states[games[i]]).lease;
            if (book.state != 0 && _court().convictionOf(lease_).time == 0) ++open_[lease_.node()];
        }
        for (uint256 i; i < _demands.length; ++i) owed += _court().demandOf(_demandId(_demands[i])).prepaid;
        for (uint256 i; i < RECEIVERS; ++i) owed += _court().creditOf(_receiver(i));
        for (uint32 node = 1; node <= NODES; ++node) {
            NodeBook memory book = _court().nodeOf(node);
            owed += book.deposit;
            requireEqual("games of a node", book.games, open_[node]);
            requireThat("bit", registry.nodeOf(node).deposited == book.enough);
        }
        requireEqual("ETH of the court", judge.balance, owed);
        uint256 bounties;
        for (uint256 i; i < leases.length; ++i) bounties += _court().convictionOf(leases[i]).bounty;
        requireEqual("tokens of the court", token.balanceOf(judge), bounties);
        _checkMarketsGames();
    }

    /// @dev A live lease cannot become final exactly while a game or a demand is open.
    function _checkMarketsGames() private view {
        uint256[] memory counts = new uint256[](leases.length);
        for (uint256 i; i < leases.length; ++i) counts[i] = _court().convictionOf(leases[i]).games;
        for (uint256 j; j < _demands.length; ++j) {
            if (_court().demandOf(_demandId(_demands[j])).answered) continue;
            for (uint256 i; i < leases.length; ++i) {
                if (LeaseId.unwrap(leases[i]) == LeaseId.unwrap(_demands[j].lease)) ++counts[i];
            }
        }
        for (uint256 i; i < leases.length; ++i) {
            LeaseInfo memory info = market.leaseOf(leases[i]);
            if (_isLive(info)) requireEqual("games of a lease", info.games, counts[i]);
        }
    }

    /* IN THE END */

    function windDown() external override {
        vm.fee(0);
        _windDown();
        for (uint256 i; i < leases.length; ++i) {
            if (_court().convictionOf(leases[i]).time != 0) _court().settle(leases[i], games.length + 1);
        }
        for (uint256 i; i < games.length; ++i) {
            if (_court().gameOf(games[i]).bond == 0) continue;
            _court().returnBond(games[i], _states[games[i]]);
        }
        for (uint32 node = 1; node <= NODES; ++node) {
            uint96 held = _court().nodeOf(node).deposit;
            vm.prank(_owner(node - 1));
            _court().withdrawDeposit(node, held);
        }
        for (uint256 i; i < RECEIVERS; ++i) {
            if (_court().creditOf(_receiver(i)) == 0) continue;
            vm.prank(_receiver(i));
            _court().withdrawCredit(payable(_person("purse", i)));
        }
        requireEqual("ETH in the end", judge.balance, _ethGifts);
        requireEqual("bounties in the end", token.balanceOf(judge), 0);
    }

    /// @dev Whoever had not moved is timed out, by anybody.
    function _endGames() internal override {
        _rollTo(vm.getBlockNumber() + 1000);
        _warpTo(vm.getBlockTimestamp() + 1_000_000);
        for (uint256 i; i < games.length; ++i) {
            Game memory game = this.unpacked(_states[games[i]]);
            if (_court().gameOf(games[i]).state == 0 || _court().convictionOf(game.lease).time != 0) continue;
            // Who tells is paid, so it is somebody who can take ETH.
            vm.prank(STRANGER);
            _court().timeout(games[i], _states[games[i]]);
        }
        for (uint256 i; i < _demands.length; ++i) {
            if (!_court().demandOf(_demandId(_demands[i])).answered) _court().timeoutDemand(_demands[i]);
        }
    }

    /* MOVES */

    function _challengersMove(bytes32 id, Game memory game) private view returns (bytes memory) {
        Pick memory pick;
        bytes32[] memory entries = new bytes32[](2);
        (entries[0], entries[1]) = (keccak256("third state"), _own(game.lease, game.position)[1]);
        if (game.phase == Phase.Picked) {
            // Claimed checkpoint 1, which follows two more steps.
            return abi.encodeCall(IDisputeCourt.descend, (id, _states[id], pick, entries));
        }
        if (game.phase != Phase.Checkpoints) return "";
        bytes32[] memory claimed = CourtWorld.checkpoints(_shardOf(game.lease, game.position), _version(game.lease));
        (pick.index, pick.entry, pick.path) = (1, claimed[1], _list(claimed[0]));
        (pick.before, pick.beforePath) = (claimed[0], _list(claimed[1]));
        return abi.encodeCall(IDisputeCourt.descend, (id, _states[id], pick, entries));
    }

    function _defendersMove(bytes32 id, Game memory game) private view returns (bytes memory) {
        uint256 shard = _shardOf(game.lease, game.position);
        if (game.phase == Phase.Result) {
            bytes32[] memory path = _resultPath(game.lease, market.leaseOf(game.lease), game.position);
            return abi.encodeCall(
                IDisputeCourt.answer, (id, _states[id], path, CourtWorld.checkpoints(shard, _version(game.lease)))
            );
        }
        if (game.phase != Phase.States) return "";
        Pick memory pick;
        bytes32 last = _own(game.lease, game.position)[1];
        bytes32 third = keccak256("third state");
        (pick.index, pick.entry, pick.path) = (1, last, _list(third));
        (pick.before, pick.beforePath) = (third, _list(last));
        return abi.encodeCall(
            IDisputeCourt.trace,
            (
                id,
                _states[id],
                pick,
                CourtWorld.HEADER,
                CourtWorld.NODES,
                new bytes32[](0),
                _list(keccak256("the new state"))
            )
        );
    }

    function _invalid(bytes32 id) private view returns (bytes memory) {
        Evidence memory evidence;
        (evidence.clause, evidence.header, evidence.nodes) = (1, CourtWorld.HEADER, CourtWorld.NODES);
        return abi.encodeCall(IDisputeCourt.invalid, (id, _states[id], evidence));
    }

    function _precommit(LeaseId id, LeaseInfo memory info, uint16 position, address challenger)
        private
        returns (Precommitment memory given)
    {
        given.checkpoints = CourtWorld.checkpointsRoot(info.firstShard + position, _ownVersion(id));
        given.salt = keccak256("salt");
        bytes32 hash = keccak256(
            abi.encode(
                block.chainid, judge, id, info.root, position, given.checkpoints, challenger, given.salt
            )
        );
        _attemptCourt(challenger, 0, abi.encodeCall(IDisputeCourt.precommit, (hash)), 0);
        _rollTo(vm.getBlockNumber() + 1);
    }

    function _opening(LeaseId id, LeaseInfo memory info, uint16 position) private view returns (Opening memory opening) {
        uint256 shard = info.firstShard + position;
        uint256 count = uint256(market.batchOf(info.batch).grains) * market.batchOf(info.batch).size;
        bytes32[] memory path = PaddedTree.path(CourtWorld.plan(count), 0, shard);
        return Opening(id, position, CourtWorld.shard(shard), path);
    }

    function _interval(LeaseId id, LeaseInfo memory info, uint16 position)
        private
        view
        returns (Interval memory interval)
    {
        bytes32[] memory claimed = CourtWorld.checkpoints(info.firstShard + position, _version(id));
        return Interval({
            checkpoint: 1,
            resultPath: _resultPath(id, info, position),
            claim: claimed[1],
            claimPath: _list(claimed[0]),
            before: claimed[0],
            beforePath: _list(claimed[1])
        });
    }

    /// @dev From a result hash to what the lease's root binds: for a replica, to its block's node.
    function _resultPath(LeaseId id, LeaseInfo memory info, uint256 position)
        private
        view
        returns (bytes32[] memory path)
    {
        bytes32[] memory entries = _entries(id, info);
        uint256 skipped = info.firstShard - uint256(info.first) * market.batchOf(info.batch).size;
        path = PaddedTree.path(entries, 0, skipped + position);
        if (!info.replica) return path;
        uint256 levels = _blockLog2(info, entries.length);
        assembly ("memory-safe") {
            mstore(path, levels)
        }
    }

    /// @dev What the node claims: 0 is true.
    function _version(LeaseId id) private pure returns (uint256) {
        return _lies(id) ? 1 : 0;
    }

    /// @dev What its challengers hold against it: the truth, or a lie of their own.
    function _ownVersion(LeaseId id) private pure returns (uint256) {
        return _lies(id) ? 0 : 2;
    }

    function _own(LeaseId id, uint256 position) private view returns (bytes32[] memory) {
        return CourtWorld.checkpoints(_shardOf(id, position), _ownVersion(id));
    }

    function _shardOf(LeaseId id, uint256 position) private view returns (uint256) {
        return market.leaseOf(id).firstShard + position;
    }

    function _list(bytes32 entry) private pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = entry;
    }

    function _demandId(Demand memory item) private view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, judge, item));
    }

    /* CALLS */

    uint256 private constant RECEIVERS = CHALLENGERS + 2 * NODES + 1;

    /// @dev Everybody who may be paid ETH.
    function _receiver(uint256 index) private view returns (address) {
        index %= RECEIVERS;
        if (index < CHALLENGERS) return _challenger(index);
        index -= CHALLENGERS;
        if (index < NODES) return _operator(index);
        index -= NODES;
        return index < NODES ? _owner(index) : STRANGER;
    }

    function _attemptCourt(address who, uint256 value, bytes memory data, uint256 seed)
        private
        returns (bool success, bytes memory result)
    {
        _prepareReceivers(seed);
        vm.txGasPrice([0, 1 gwei, 20 gwei, 100 gwei][seed % 4]);
        vm.deal(who, value);
        vm.recordLogs();
        vm.prank(who);
        (success, result) = judge.call{value: value}(data);
        if (success) ++done[bytes4(data)];
        else requireThat("refused without a reason", result.length >= 4);
        if (!success) requireThat("panic", bytes4(result) != bytes4(keccak256("Panic(uint256)")));
        Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != IDisputeCourt.Moved.selector) continue;
            (_states[logs[i].topics[1]],,) = abi.decode(logs[i].data, (bytes, uint40, bytes));
        }
    }

    /// @dev Those that call back are told what to try: to be paid again.
    function _prepareReceivers(uint256 seed) private {
        for (uint256 i; i < 2; ++i) {
            address receiver = i == 0 ? _challenger(2) : _operator(1);
            bytes memory data = abi.encodeCall(IDisputeCourt.withdrawCredit, (payable(receiver)));
            (bytes32 id, Game memory game) = _someGame(seed >> 16);
            if (id != 0 && seed % 3 == 0) data = abi.encodeCall(IDisputeCourt.returnBond, (id, _states[id]));
            if (id != 0 && seed % 3 == 1) data = abi.encodeCall(IDisputeCourt.settle, (game.lease, 2));
            ReentrantReceiver(payable(receiver)).prepare(judge, data);
        }
    }

    function _passClock(uint256 deadline, uint256 blockNumber) private {
        _rollTo(blockNumber + CLOCK_BLOCKS + 1);
        _warpTo(deadline + 1);
    }

    /// @dev The fields of a state in bytes.
    function unpacked(bytes calldata state) external pure returns (Game memory) {
        return States.unpack(state)[0];
    }

    function _someGame(uint256 seed) private view returns (bytes32 id, Game memory game) {
        if (games.length == 0) return (id, game);
        id = games[seed % games.length];
        game = this.unpacked(_states[id]);
    }

    /// @dev The first game from a place on whose lease was convicted; else any.
    function _someConvicted(uint256 seed) private view returns (bytes32 id, Game memory game) {
        for (uint256 i; i < games.length; ++i) {
            (id, game) = _someGame(seed % games.length + i);
            if (_court().convictionOf(game.lease).time != 0) return (id, game);
        }
    }

    /// @dev The first lease from a place on that is revealed or contested; else any.
    function _someAccusable(uint256 seed) private view returns (LeaseId id, LeaseInfo memory info) {
        for (uint256 i; i < leases.length; ++i) {
            (id, info) = _someLease(seed % leases.length + i);
            if (info.state == LeaseState.Revealed || info.state == LeaseState.Contested) return (id, info);
        }
    }
}
