// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {
    BatchInfo,
    FLAG_GATED,
    FLAG_KEEP_RESULTS,
    FLAG_OPEN,
    ITaskMarket,
    LeaseInfo,
    LeaseState,
    Policy,
    TaskInfo,
    Terms
} from "./interfaces/ITaskMarket.sol";
import {Deadlines} from "./lib/Deadlines.sol";
import {Draw} from "./lib/Draw.sol";
import {Exits} from "./lib/Exits.sol";
import {Ledger} from "./lib/Ledger.sol";
import {Pricing} from "./lib/Pricing.sol";
import {ResultTree} from "./lib/ResultTree.sol";
import {TermsRules} from "./lib/TermsRules.sol";
import {TokenAI} from "./TokenAI.sol";
import {BatchWord, newBatch, run} from "./types/BatchWord.sol";
import {LeaseId, SlotKey, toSlotKey} from "./types/LeaseId.sol";
import {FEE_COVERED, LeaseWord, REPLICA, freed, newLease} from "./types/LeaseWord.sol";
import {Batch, KeptResult, Lease, MarketStorage, Task} from "./types/MarketStorage.sol";
import {TermsWord, packTerms} from "./types/TermsWord.sol";

/// @title TaskMarket: escrow, leases, replication and payout.
contract TaskMarket is ITaskMarket {
    using SafeERC20 for TokenAI;
    using Deadlines for LeaseWord;
    using Ledger for MarketStorage;

    uint8 private constant LEASED = uint8(LeaseState.Leased);
    uint8 private constant COMMITTED = uint8(LeaseState.Committed);
    uint8 private constant CALLED = uint8(LeaseState.Called);
    uint8 private constant PAIRED = uint8(LeaseState.Paired);
    uint8 private constant BOTH = uint8(LeaseState.Both);
    uint8 private constant HALF_REVEALED = uint8(LeaseState.HalfRevealed);
    uint8 private constant REVEALED = uint8(LeaseState.Revealed);
    uint8 private constant CONTESTED = uint8(LeaseState.Contested);

    TokenAI private immutable TOKEN;
    INodeRegistry private immutable REGISTRY;
    address private immutable ARBITER;
    uint24 private immutable MIN_MOVE_TIME;
    uint24 private immutable MAX_MOVE_TIME;
    bool private immutable COURT_WINDOWS;
    bool private immutable WEAK_BLOCK_HASHES;

    MarketStorage private _s;

    modifier onlyRequester(uint40 task) {
        if (msg.sender != _s.tasks[task].requester) revert NotRequester(task, msg.sender);
        _;
    }

    modifier onlyArbiter() {
        if (msg.sender != ARBITER) revert NotArbiter(msg.sender);
        _;
    }

    modifier onlyGuardian() {
        if (msg.sender != _s.guardian) revert NotGuardian(msg.sender);
        _;
    }

    constructor(TokenAI token_, INodeRegistry registry_, address arbiter_, address guardian_, Policy memory policy_) {
        if (address(token_) == address(0) || address(registry_) == address(0) || arbiter_ == address(0)) {
            revert ZeroAddress();
        }
        TOKEN = token_;
        REGISTRY = registry_;
        ARBITER = arbiter_;
        _s.guardian = guardian_;
        MIN_MOVE_TIME = policy_.minMoveTime;
        MAX_MOVE_TIME = policy_.maxMoveTime;
        COURT_WINDOWS = policy_.courtWindows;
        WEAK_BLOCK_HASHES = policy_.weakBlockHashes;
    }

    /* REQUESTER */

    /// @inheritdoc ITaskMarket
    function create(Terms calldata terms, string calldata url, uint96 amount) external returns (uint40 task) {
        if (_s.paused) revert NewWorkPaused();
        TermsRules.check(terms, policy());
        task = ++_s.taskCount;
        Task storage self = _s.tasks[task];
        self.terms = packTerms(terms);
        (self.watcher, self.moveTime, self.maxGrains) = (terms.watcher, terms.moveTime, terms.maxGrains);
        (self.flags, self.revealDepth) = (terms.flags, terms.revealDepth);
        (self.requester, self.escrow) = (msg.sender, amount);
        emit TaskCreated(task, msg.sender, terms, url);
        if (amount != 0) {
            emit Deposited(task, msg.sender, amount);
            TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        }
    }

    /// @inheritdoc ITaskMarket
    function deposit(uint40 task, uint96 amount) external {
        Task storage self = _s.tasks[task];
        if (self.requester == address(0)) revert UnknownTask(task);
        self.escrow += amount;
        emit Deposited(task, msg.sender, amount);
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc ITaskMarket
    function withdrawEscrow(uint40 task, uint96 amount, address to) external onlyRequester(task) {
        _spendEscrow(task, amount);
        emit EscrowWithdrawn(task, to, amount);
        TOKEN.safeTransfer(to, amount);
    }

    /// @inheritdoc ITaskMarket
    function post(uint40 task, bytes32 planRoot, uint8 grains, uint8 size)
        external
        onlyRequester(task)
        returns (uint40 batch)
    {
        if (_s.paused) revert NewWorkPaused();
        if (planRoot == 0) revert ZeroHash();
        TermsRules.within("grains", grains, 1, TermsRules.MAX_GRAINS);
        TermsRules.within("size", size, 1, TermsRules.MAX_SIZE);
        Task storage self = _s.tasks[task];
        TermsWord terms = self.terms;
        BatchWord word = _newBatch(self, task, grains, size);
        uint256 reserved = grains * (size * terms.price() + Pricing.fee(terms, word));
        _spendEscrow(task, reserved);
        batch = ++_s.batchCount;
        _s.batches[batch] = Batch(word, planRoot);
        emit BatchPosted(batch, task, planRoot, grains, size, uint96(reserved));
    }

    /// @inheritdoc ITaskMarket
    function close(uint40 batch) external onlyRequester(_s.batches[batch].word.task()) {
        BatchWord word = _s.batches[batch].word;
        if (word.posted() == 0 || word.unsettled() == 0) revert BatchNotOpen(batch);
        TermsWord terms = _s.tasks[word.task()].terms;
        uint256 count;
        for (uint128 bits = word.free(); bits != 0; bits &= bits - 1) ++count;
        uint256 refunded;
        (word, refunded) = _s.refund(word.closed().withFree(0), terms, count);
        emit BatchClosed(batch, uint96(refunded));
        _s.batches[batch].word = _s.settleIfDone(batch, word, terms);
    }

    /// @inheritdoc ITaskMarket
    function bar(uint40 task, uint32 node, bool barred) external onlyRequester(task) {
        if (_s.tasks[task].flags & FLAG_GATED == 0) revert NotGated(task);
        _s.barred[task][node] = barred;
        emit NodeBarred(task, node, barred);
    }

    /// @inheritdoc ITaskMarket
    function call(LeaseId lease_) external {
        (Lease storage self, LeaseWord word) = _live(lease_);
        uint40 task = _s.batches[word.batch()].word.task();
        if (msg.sender != _s.tasks[task].requester && msg.sender != _s.tasks[task].watcher) {
            revert NotRequester(task, msg.sender);
        }
        if (word.isReplica() || word.state() != LeaseState.Committed) revert WrongState(lease_, word.state());
        uint256 drawBlock = word.blockNumber() + _s.tasks[task].terms.drawDelay();
        if (block.number > drawBlock) revert TooLate(lease_, drawBlock);
        self.word = word.withState(CALLED);
        emit Called(lease_, msg.sender);
    }

    /* NODE */

    /// @inheritdoc ITaskMarket
    function lease(uint40 batch, uint8 first, uint8 grains, uint32 node, uint8 slot)
        external
        returns (LeaseId lease_)
    {
        if (_s.paused) revert NewWorkPaused();
        BatchWord word = _s.batches[batch].word;
        if (word.posted() == 0) revert BatchNotOpen(batch);
        TermsRules.within("grains", grains, 1, word.longest());
        uint256 bits = run(first, grains);
        uint128 free = word.free();
        if (bits & ~uint256(free) != 0) revert GrainsNotFree(batch, first, grains, free);
        if (word.isGated() && _s.barred[word.task()][node]) revert NodeIsBarred(word.task(), node);
        _s.batches[batch].word = word.withFree(free ^ uint128(bits));

        TermsWord terms = _s.tasks[word.task()].terms;
        uint256 shards = grains * word.size();
        uint256 stake = Pricing.stake(terms, word, shards);
        uint256 stamp = block.timestamp + terms.computeSeconds() * shards;
        lease_ = _fill(node, slot, newLease(LEASED, batch, first, grains, stamp));
        emit Leased(lease_, batch, first, grains, uint96(stake));
        REGISTRY.lock(node, msg.sender, stake);
    }

    /// @inheritdoc ITaskMarket
    function commit(LeaseId lease_, bytes32 commitment) external {
        if (commitment == 0) revert ZeroHash();
        (Lease storage self, LeaseWord word) = _live(lease_);
        _requireOperator(lease_.node());
        (BatchWord batch, TermsWord terms) = _context(word);
        if (batch.isOpenTask()) revert OpenTask(lease_);
        Lease storage clock = self;
        LeaseState expected = LeaseState.Leased;
        uint8 next = COMMITTED;
        if (word.isReplica()) {
            clock = _s.leases[word.peer()];
            word = clock.word;
            (expected, next) = (LeaseState.Paired, BOTH);
        }
        if (word.state() != expected) revert WrongState(lease_, word.state());
        if (word.passed()) revert DeadlinePassed(lease_, word.stamp());
        self.root = commitment;
        clock.word = word.withMove(next, block.timestamp + terms.revealSeconds());
        emit Committed(lease_, commitment);
    }

    /// @inheritdoc ITaskMarket
    function take(LeaseId primary, uint32 node, uint8 slot, uint256 attempt) external returns (LeaseId replica) {
        (Lease storage self, LeaseWord word) = _live(primary);
        (BatchWord batch, TermsWord terms) = _context(word);
        bytes32 seed = _requireTakeable(primary, self, word, terms);
        if (node == primary.node()) revert OwnReplica(node);
        uint256 shards = Pricing.shardsOf(batch, word);
        uint256 log2 = Pricing.blockLog2(terms, shards);
        uint16 drawn = Draw.drawnBlock(seed, ResultTree.blocks(shards, log2));
        uint256 stake = Pricing.stake(terms, batch, 1 << log2);
        uint256 stamp = block.timestamp + (terms.computeSeconds() << log2);
        replica = _fill(
            node,
            slot,
            newLease(REPLICA | LEASED, word.batch(), word.first(), word.grains(), stamp).withPeer(primary.key())
                .withDrawn(drawn)
        );
        self.word = word.withMove(PAIRED, stamp).withPeer(replica.key()).withDrawn(drawn);
        emit Taken(primary, replica, drawn, uint96(stake));
        _enterLottery(seed, node, attempt, stake, word.blockNumber(), terms);
    }

    /// @inheritdoc ITaskMarket
    function reveal(LeaseId lease_, bytes32 root, bytes32 salt) external {
        (Lease storage self, LeaseWord word) = _live(lease_);
        if (word.isReplica()) return _revealReplica(lease_, self, word, root, salt);
        (BatchWord batch, TermsWord terms) = _context(word);
        LeaseState state = word.state();
        if (state == LeaseState.Leased && batch.isOpenTask()) {
            _requireOperator(lease_.node());
            if (word.passed()) revert DeadlinePassed(lease_, word.stamp());
            if (root == 0) revert ZeroHash();
            salt = 0;
        } else {
            if (state == LeaseState.Committed || state == LeaseState.Called) {
                _requireUntaken(lease_, self, word, terms);
            } else {
                word = _desert(lease_, word, terms);
            }
            _requireCommitted(lease_, self, root, salt);
        }
        self.root = root;
        self.word = word.withMove(REVEALED, block.timestamp + terms.challengeSeconds());
        emit Revealed(lease_, root, salt);
    }

    /// @inheritdoc ITaskMarket
    function revealPaired(LeaseId lease_, bytes32 root, bytes32 salt, bytes32 blockRoot, bytes32[] calldata path)
        external
    {
        (Lease storage self, LeaseWord word) = _live(lease_);
        if (word.isReplica() || word.state() != LeaseState.HalfRevealed) revert WrongState(lease_, word.state());
        if (word.passed()) revert DeadlinePassed(lease_, word.stamp());
        _requireCommitted(lease_, self, root, salt);
        (BatchWord batch, TermsWord terms) = _context(word);
        uint256 shards = Pricing.shardsOf(batch, word);
        bytes32 opened = ResultTree.open(blockRoot, word.drawn(), path, shards, Pricing.blockLog2(terms, shards));
        if (opened != root) revert WrongOpening(root, opened);
        SlotKey peer = word.peer();
        bool equal = blockRoot == _s.leases[peer].root;
        self.root = root;
        self.word = word.withMove(equal ? REVEALED : CONTESTED, block.timestamp + terms.challengeSeconds());
        emit Revealed(lease_, root, salt);
        if (!equal) emit Contested(lease_, _s.leases[peer].word.id(peer));
    }

    /* EXITS */

    /// @inheritdoc ITaskMarket
    // Each lease's state is settled before the registry is called for it, and the registry calls nobody.
    // slither-disable-next-line reentrancy-no-eth
    function finalise(LeaseId[] calldata leases) external {
        for (uint256 i; i < leases.length; ++i) {
            SlotKey key = leases[i].key();
            LeaseWord word = _s.leases[key].word;
            if (word.generation() != leases[i].generation()) continue;
            if (!word.isReplica()) {
                _finalisePrimary(key, word);
            } else if (!word.isLinked()) {
                if (_isFinal(word) && word.games() == 0) _payReplica(key, word);
            } else {
                _finaliseLinked(key, word);
            }
        }
    }

    /// @inheritdoc ITaskMarket
    function expire(LeaseId[] calldata leases) external {
        Exits.expire(_s, REGISTRY, leases);
    }

    /// @inheritdoc ITaskMarket
    function resolve(LeaseId[] calldata leases) external {
        Exits.resolve(_s, REGISTRY, leases);
    }

    /// @inheritdoc ITaskMarket
    function withdraw(uint32 node) external {
        uint96 amount = _s.balances[node];
        if (amount == 0) revert NothingToWithdraw(node);
        _s.balances[node] = 0;
        address payee = REGISTRY.payeeOf(node);
        emit Withdrawn(node, payee, amount);
        TOKEN.safeTransfer(payee, amount);
    }

    /* THE JUDGE */

    /// @inheritdoc ITaskMarket
    function gameOpened(LeaseId lease_) external onlyArbiter {
        (Lease storage self, LeaseWord word) = _live(lease_);
        LeaseWord clock = _clockOf(word);
        LeaseState state = clock.state();
        if (state != LeaseState.Revealed && state != LeaseState.Contested) revert WrongState(lease_, state);
        if (clock.passed()) revert DeadlinePassed(lease_, clock.stamp());
        uint24 games = word.games() + 1;
        self.word = word.withGames(games);
        emit GameOpened(lease_, games);
    }

    /// @inheritdoc ITaskMarket
    function gameClosed(LeaseId lease_) external onlyArbiter {
        (Lease storage self, LeaseWord word) = _live(lease_);
        uint24 games = word.games();
        if (games == 0) revert NoGameOpen(lease_);
        self.word = word.withGames(--games);
        emit GameClosed(lease_, games);
    }

    /// @inheritdoc ITaskMarket
    function convict(LeaseId lease_) external onlyArbiter returns (uint96 bounty) {
        return Exits.convict(_s, REGISTRY, TOKEN, lease_);
    }

    /* EVERYONE */

    /// @inheritdoc ITaskMarket
    function multicall(bytes[] calldata calls, uint256 must) external returns (bytes[] memory results) {
        results = new bytes[](calls.length);
        for (uint256 i; i < calls.length; ++i) {
            (bool done, bytes memory result) = address(this).delegatecall(calls[i]);
            results[i] = result;
            if (done) continue;
            if ((must >> i) & 1 == 0) {
                emit CallFailed(i, result);
            } else {
                assembly ("memory-safe") {
                    revert(add(result, 32), mload(result))
                }
            }
        }
    }

    /// @inheritdoc ITaskMarket
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        try TOKEN.permit(msg.sender, address(this), value, deadline, v, r, s) {
            return;
        } catch {
            uint256 allowance = TOKEN.allowance(msg.sender, address(this));
            if (allowance < value) revert PermitFailed(value, allowance);
        }
    }

    /* GUARDIAN */

    /// @inheritdoc ITaskMarket
    function setPaused(bool paused_) external onlyGuardian {
        _s.paused = paused_;
        emit PausedSet(paused_);
    }

    /// @inheritdoc ITaskMarket
    function renounceGuardian() external onlyGuardian {
        _s.guardian = address(0);
        if (_s.paused) {
            _s.paused = false;
            emit PausedSet(false);
        }
        emit GuardianRenounced();
    }

    /* VIEWS */

    /// @inheritdoc ITaskMarket
    function taskOf(uint40 task) external view returns (TaskInfo memory info) {
        Task storage self = _s.tasks[task];
        TermsWord word = self.terms;
        (info.requester, info.escrow) = (self.requester, self.escrow);
        info.terms = Terms({
            price: uint96(word.price()),
            computeSeconds: uint24(word.computeSeconds()),
            revealSeconds: uint24(word.revealSeconds()),
            challengeSeconds: uint24(word.challengeSeconds()),
            stakeFactor: uint16(word.stakeFactor()),
            lateBp: uint16(word.lateBp()),
            drawBp: uint16(word.drawBp()),
            feePercent: uint16(word.feePercent()),
            drawDelay: uint8(word.drawDelay()),
            lotteryBlocks: uint8(word.lotteryBlocks()),
            blockLog2: uint8(word.blockLog2()),
            watcher: self.watcher,
            moveTime: self.moveTime,
            maxGrains: self.maxGrains,
            flags: self.flags,
            revealDepth: self.revealDepth
        });
    }

    /// @inheritdoc ITaskMarket
    function batchOf(uint40 batch) external view returns (BatchInfo memory) {
        BatchWord word = _s.batches[batch].word;
        return BatchInfo({
            task: word.task(),
            grains: word.grains(),
            size: word.grains() == 0 ? 0 : uint8(word.size()),
            free: word.free(),
            unsettled: word.unsettled(),
            replicasPaid: word.replicasPaid(),
            posted: word.posted(),
            planRoot: _s.batches[batch].planRoot
        });
    }

    /// @inheritdoc ITaskMarket
    function leaseOf(LeaseId lease_) external view returns (LeaseInfo memory info) {
        Lease storage self = _s.leases[lease_.key()];
        LeaseWord word = self.word;
        if (word.generation() != lease_.generation() || word.state() == LeaseState.Free) return info;
        LeaseWord clock = _clockOf(word);
        (BatchWord batch, TermsWord terms) = _context(word);
        uint256 shards = Pricing.shardsOf(batch, word);
        uint256 firstShard = word.first() * batch.size();
        info.stake = uint96(Pricing.stakeOf(terms, batch, word));
        if (word.isReplica()) {
            uint256 log2 = Pricing.blockLog2(terms, shards);
            uint256 skipped = uint256(word.drawn()) << log2;
            firstShard += skipped;
            shards = shards - skipped < 1 << log2 ? shards - skipped : 1 << log2;
        }
        info.state = clock.state();
        info.replica = word.isReplica();
        (info.batch, info.first, info.grains) = (word.batch(), word.first(), word.grains());
        (info.firstShard, info.shards) = (uint16(firstShard), uint16(shards));
        (info.blockNumber, info.deadline, info.games) = (clock.blockNumber(), clock.stamp(), word.games());
        if (word.isLinked()) info.peer = _s.leases[word.peer()].word.id(word.peer());
        (info.drawnBlock, info.root) = (word.drawn(), self.root);
        (info.moveTime, info.planRoot) = (_s.tasks[batch.task()].moveTime, _s.batches[word.batch()].planRoot);
    }

    /// @inheritdoc ITaskMarket
    function slotOf(uint32 node, uint8 slot) external view returns (uint32 generation, bool free) {
        LeaseWord word = _s.leases[toSlotKey(node, slot)].word;
        return (word.generation(), word.isFree());
    }

    /// @inheritdoc ITaskMarket
    function feeOf(uint40 batch) external view returns (uint96) {
        BatchWord word = _s.batches[batch].word;
        return uint96(Pricing.fee(_s.tasks[word.task()].terms, word));
    }

    /// @inheritdoc ITaskMarket
    function balanceOf(uint32 node) external view returns (uint96) {
        return _s.balances[node];
    }

    /// @inheritdoc ITaskMarket
    function isBarred(uint40 task, uint32 node) external view returns (bool) {
        return _s.barred[task][node];
    }

    /// @inheritdoc ITaskMarket
    function resultOf(uint40 batch, uint8 firstGrain) external view returns (bytes32 root, uint8 grains) {
        KeptResult storage self = _s.results[batch][firstGrain];
        return (self.root, self.grains);
    }

    /// @inheritdoc ITaskMarket
    function taskCount() external view returns (uint40) {
        return _s.taskCount;
    }

    /// @inheritdoc ITaskMarket
    function batchCount() external view returns (uint40) {
        return _s.batchCount;
    }

    /// @inheritdoc ITaskMarket
    function paused() external view returns (bool) {
        return _s.paused;
    }

    /// @inheritdoc ITaskMarket
    function guardian() external view returns (address) {
        return _s.guardian;
    }

    /// @inheritdoc ITaskMarket
    function policy() public view returns (Policy memory) {
        return Policy(MIN_MOVE_TIME, MAX_MOVE_TIME, COURT_WINDOWS, WEAK_BLOCK_HASHES);
    }

    /// @inheritdoc ITaskMarket
    function token() external view returns (address) {
        return address(TOKEN);
    }

    /// @inheritdoc ITaskMarket
    function registry() external view returns (address) {
        return address(REGISTRY);
    }

    /// @inheritdoc ITaskMarket
    function arbiter() external view returns (address) {
        return ARBITER;
    }

    /* LEASES */

    function _newBatch(Task storage self, uint40 task, uint8 grains, uint8 size) private view returns (BatchWord) {
        uint8 flags = self.flags;
        return newBatch({
            task_: task,
            grains_: grains,
            size_: size,
            longest_: self.maxGrains < grains ? self.maxGrains : grains,
            open: flags & FLAG_OPEN != 0,
            keep: flags & FLAG_KEEP_RESULTS != 0,
            gated: flags & FLAG_GATED != 0
        });
    }

    function _live(LeaseId lease_) private view returns (Lease storage self, LeaseWord word) {
        self = _s.leases[lease_.key()];
        word = self.word;
        if (word.generation() != lease_.generation()) revert StaleLease(lease_, word.generation());
    }

    function _context(LeaseWord word) private view returns (BatchWord batch, TermsWord terms) {
        batch = _s.batches[word.batch()].word;
        terms = _s.tasks[batch.task()].terms;
    }

    /// @dev Where the lease's state and clock are: a linked replica's on its primary.
    function _clockOf(LeaseWord word) private view returns (LeaseWord) {
        return word.isReplica() && word.isLinked() ? _s.leases[word.peer()].word : word;
    }

    function _requireOperator(uint32 node) private view {
        if (!REGISTRY.isOperator(node, msg.sender)) revert NotOperator(node, msg.sender);
    }

    /// @dev Writes a new lease into a free slot, under the slot's next generation.
    function _fill(uint32 node, uint8 slot, LeaseWord word) private returns (LeaseId) {
        SlotKey key = toSlotKey(node, slot);
        LeaseWord old = _s.leases[key].word;
        if (!old.isFree()) revert SlotBusy(node, slot);
        uint32 generation = old.generation() + 1;
        _s.leases[key].word = word.withGeneration(generation);
        return key.withGeneration(generation);
    }

    function _requireCommitted(LeaseId lease_, Lease storage self, bytes32 root, bytes32 salt) private view {
        if (root == 0) revert ZeroHash();
        bytes32 given = keccak256(
            abi.encode(
                block.chainid, address(this), SlotKey.unwrap(lease_.key()), lease_.generation(), root, salt
            )
        );
        bytes32 expected = self.root;
        if (given != expected) revert WrongReveal(lease_, expected, given);
    }

    /* DRAW */

    /// @dev Whether a replica may take the lease now. @return seed The draw's hash.
    function _requireTakeable(LeaseId primary, Lease storage self, LeaseWord word, TermsWord terms)
        private
        view
        returns (bytes32 seed)
    {
        LeaseState state = word.state();
        bool called = state == LeaseState.Called;
        if (word.isReplica() || (state != LeaseState.Committed && !called)) revert WrongState(primary, state);
        uint256 drawBlock = word.blockNumber() + terms.drawDelay();
        if (block.number <= drawBlock) revert TooEarly(primary, drawBlock + 1);
        uint256 last = drawBlock + terms.lotteryBlocks();
        if (block.number > last) revert TooLate(primary, last);
        seed = Draw.seed(primary, self.root, drawBlock);
        if (!called && !Draw.isDrawn(seed, drawBlock, terms.drawBp())) revert NotDrawn(primary);
    }

    /// @dev Locks the replica's stake. Up to half of the lottery's time, a ticket must win; later anyone may take.
    function _enterLottery(
        bytes32 seed,
        uint32 node,
        uint256 attempt,
        uint256 locked,
        uint40 committed,
        TermsWord terms
    ) private {
        (uint96 stake, uint40 since, uint96 total) = REGISTRY.lockReplica(node, msg.sender, locked);
        if (since >= committed) revert StakeTooYoung(node, since, committed);
        uint256 lotteryBlocks = terms.lotteryBlocks();
        uint256 tickets = block.number - committed - terms.drawDelay();
        if (tickets > lotteryBlocks / 2) return;
        if (attempt == 0 || attempt > tickets) revert AttemptOutOfRange(attempt, tickets);
        if (!Draw.wins(seed, node, attempt, stake, total, lotteryBlocks)) revert LotteryLost(node, attempt);
    }

    /// @dev After the draw, not drawn; or drawn, and nobody took it in time.
    function _requireUntaken(LeaseId lease_, Lease storage self, LeaseWord word, TermsWord terms) private view {
        uint256 drawBlock = word.blockNumber() + terms.drawDelay();
        if (block.number <= drawBlock) revert TooEarly(lease_, drawBlock + 1);
        uint256 last = drawBlock + terms.lotteryBlocks();
        if (block.number > last) {
            if (word.commitPassed(terms)) revert DeadlinePassed(lease_, word.stamp());
            return;
        }
        uint256 drawBp = terms.drawBp();
        bool drawn = word.state() == LeaseState.Called
            || (drawBp != 0 && Draw.isDrawn(Draw.seed(lease_, self.root, drawBlock), drawBlock, drawBp));
        if (drawn) revert DrawnUntil(lease_, last);
    }

    /* PAIRS */

    function _revealReplica(LeaseId lease_, Lease storage self, LeaseWord word, bytes32 root, bytes32 salt) private {
        Lease storage primary = _s.leases[word.peer()];
        word = primary.word;
        if (word.state() != LeaseState.Both) revert WrongState(lease_, word.state());
        if (word.passed()) revert DeadlinePassed(lease_, word.stamp());
        _requireCommitted(lease_, self, root, salt);
        (, TermsWord terms) = _context(word);
        self.root = root;
        primary.word = word.withMove(HALF_REVEALED, block.timestamp + terms.revealSeconds());
        emit Revealed(lease_, root, salt);
    }

    /// @dev Lets a primary go whose replica has missed its turn. The replica stays behind, to be expired.
    function _desert(LeaseId lease_, LeaseWord word, TermsWord terms) private returns (LeaseWord) {
        LeaseState state = word.state();
        if (state != LeaseState.Paired && state != LeaseState.Both) revert WrongState(lease_, state);
        if (!word.passed()) revert PeerMayAct(lease_, word.stamp());
        if (word.turnPassed(terms)) revert DeadlinePassed(lease_, word.stamp() + terms.revealSeconds());
        if (word.isLinked()) {
            Lease storage replica = _s.leases[word.peer()];
            replica.word = replica.word.unlinked().withState(REPLICA | (state == LeaseState.Both ? BOTH : LEASED));
        }
        return word.unlinked();
    }

    /* PAYOUT */

    function _isFinal(LeaseWord word) private view returns (bool) {
        return word.state() == LeaseState.Revealed && word.passed();
    }

    /// @dev Pays a primary, and with it its replica. One with open games is unlinked, its fee set aside.
    // As in finalise.
    // slither-disable-next-line reentrancy-no-eth
    function _finalisePrimary(SlotKey key, LeaseWord word) private {
        if (!_isFinal(word) || word.games() != 0) return;
        (BatchWord batch, TermsWord terms) = _context(word);
        uint40 batchId = word.batch();
        SlotKey peer = word.peer();
        LeaseWord replica;
        if (word.isLinked()) {
            batch = batch.withReplicasPaid(batch.replicasPaid() + 1);
            replica = _s.leases[peer].word;
            if (replica.games() != 0) {
                _s.leases[peer].word = replica.unlinked().withClockOf(word).withState(REPLICA | REVEALED);
            }
        }
        bytes32 root = _s.leases[key].root;
        if (batch.keepsResults()) _s.results[batchId][word.first()] = KeptResult(root, word.grains());
        uint256 shards = Pricing.shardsOf(batch, word);
        _s.batches[batchId].word = _s.settleIfDone(batchId, batch.withoutUnsettled(word.grains()), terms);
        _pay(key, word, root, shards * terms.price(), Pricing.stake(terms, batch, shards));
        if (replica.isReplica() && replica.games() == 0) _payReplica(peer, replica);
    }

    /// @dev A replica whose primary still has open games: paid alone, and the primary remembers that it was.
    function _finaliseLinked(SlotKey key, LeaseWord word) private {
        SlotKey peer = word.peer();
        LeaseWord primary = _s.leases[peer].word;
        if (primary.games() == 0) return _finalisePrimary(peer, primary);
        if (!_isFinal(primary) || word.games() != 0) return;
        Batch storage batch = _s.batches[word.batch()];
        batch.word = batch.word.withReplicasPaid(batch.word.replicasPaid() + 1);
        _s.leases[peer].word = primary.unlinked().withState(REVEALED | FEE_COVERED);
        _payReplica(key, word);
    }

    function _payReplica(SlotKey key, LeaseWord word) private {
        (BatchWord batch, TermsWord terms) = _context(word);
        _pay(key, word, _s.leases[key].root, Pricing.fee(terms, batch), Pricing.stakeOf(terms, batch, word));
    }

    /// @dev Credits the node, frees its slot, unlocks its stake.
    function _pay(SlotKey key, LeaseWord word, bytes32 root, uint256 amount, uint256 stake) private {
        uint32 node = key.nodeOf();
        _s.leases[key].word = freed(word);
        _s.balances[node] += uint96(amount);
        emit Finalised(word.id(key), word.batch(), root, uint96(amount));
        REGISTRY.unlock(node, stake);
    }

    function _spendEscrow(uint40 task, uint256 amount) private {
        uint96 escrow = _s.tasks[task].escrow;
        if (amount > escrow) revert EscrowShort(task, amount, escrow);
        unchecked {
            _s.tasks[task].escrow = escrow - uint96(amount);
        }
    }
}
