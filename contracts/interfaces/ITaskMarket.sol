// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LeaseId} from "../types/LeaseId.sol";

/// @dev Flags of a task. Open: no commit, draw or call. Gated: its requester may bar nodes. Keep: contracts can
/// read results.
uint8 constant FLAG_OPEN = 1;
uint8 constant FLAG_GATED = 2;
uint8 constant FLAG_KEEP_RESULTS = 4;

/// @notice What a chain demands of every task's terms, fixed when the market is deployed.
struct Policy {
    /// Floor and ceiling of `moveTime`, in seconds.
    uint24 minMoveTime;
    uint24 maxMoveTime;
    /// Whether challengeSeconds must be at least 4 * moveTime + computeSeconds. Off on local chains only.
    bool courtWindows;
    /// Block hashes are weak, or block numbers are another chain's: drawBp must be 0, and calls do the work.
    bool weakBlockHashes;
}

/// @notice What a requester offers. Fixed when the task is created; every batch of the task follows it.
struct Terms {
    /// Wei of TokenAI a shard.
    uint96 price;
    /// Seconds to compute one shard; a lease of n shards has n times this to commit.
    uint24 computeSeconds;
    uint24 revealSeconds;
    /// The challenge window, and the contest window. At least 4 * moveTime + computeSeconds.
    uint24 challengeSeconds;
    /// Stake behind a lease over its price, in hundredths (200: twice the price).
    uint16 stakeFactor;
    /// Late penalty in basis points of the stake, 100 to 2,000.
    uint16 lateBp;
    /// Probability of the chain's draw in basis points, 0 to 10,000; 0 in an open task.
    uint16 drawBp;
    /// Replica fee as a percentage of price * 2^b, b = min(blockLog2, ceil(log2(size * min(maxGrains, grains))))
    /// of the batch; 0 in an open task.
    uint16 feePercent;
    /// Blocks from commit to draw, at least 1.
    uint8 drawDelay;
    /// L: blocks after the draw in which a replica may take a drawn lease, 1 to 200.
    uint8 lotteryBlocks;
    /// log2 of the shards that a replica re-executes, 0 to 13; 255: the whole lease.
    uint8 blockLog2;
    /// May call leases for replication beside the requester; zero for nobody.
    address watcher;
    /// Seconds a court move may take.
    uint24 moveTime;
    /// Longest lease, in grains, 1 to 128.
    uint8 maxGrains;
    /// FLAG_OPEN | FLAG_GATED | FLAG_KEEP_RESULTS.
    uint8 flags;
    /// Confirmations of the draw's block after which nodes should reveal; 0: the node's own setting.
    uint8 revealDepth;
}

/// @notice Where a lease stands. A pair's state is the primary's; a replica reports the pair's.
enum LeaseState {
    Free,
    Leased,
    /// Committed, the draw open or not drawn.
    Committed,
    /// Committed and called by the requester or its watcher.
    Called,
    /// A replica has taken it and not committed.
    Paired,
    /// Both have committed; the replica reveals next.
    Both,
    /// The replica has revealed; the primary opens the drawn block next.
    HalfRevealed,
    Revealed,
    Contested,
    Slashed
}

struct TaskInfo {
    address requester;
    uint96 escrow;
    Terms terms;
}

struct BatchInfo {
    uint40 task;
    uint8 grains;
    /// Shards a grain.
    uint8 size;
    /// Bit i set: grain i may be leased.
    uint128 free;
    /// Grains without a final result.
    uint8 unsettled;
    /// Replica fees that have left the reserve, closing's refunds included, less those that came back from slashed
    /// stakes: `unsettled * size * price + (grains - replicasPaid) * fee` is what the batch still reserves.
    uint16 replicasPaid;
    /// Timestamp of posting; 0 once closed.
    uint40 posted;
    bytes32 planRoot;
}

struct LeaseInfo {
    LeaseState state;
    bool replica;
    uint40 batch;
    /// First grain of the lease (a replica's: its primary's).
    uint8 first;
    uint8 grains;
    /// First shard re-executed (primary: first * size) and how many shards (a replica's: its block's).
    uint16 firstShard;
    uint16 shards;
    /// Block of the last change of state (Committed: the commit's block), and the deadline it set.
    uint40 blockNumber;
    uint40 deadline;
    uint24 games;
    /// The other of a pair; zero without one.
    LeaseId peer;
    /// Which aligned block of 2^b shards the replica re-executes.
    uint16 drawnBlock;
    /// The commit, overwritten by the result root.
    bytes32 root;
    /// S, locked behind this lease.
    uint96 stake;
    /// Seconds a court move may take.
    uint24 moveTime;
    bytes32 planRoot;
}

/// @title The market: escrow, batches, leases, commit, draw, reveal, replication, payout and refunds.
/// @notice Nothing here is payable and nobody, the guardian included, can touch another's money.
/// A deadline has passed when `timestamp > stamp` and `block.number > block + 32` (a lone commit:
/// `> draw block + L + 32`).
/// An act is valid exactly while its deadline has not passed; an exit exactly once it has.
interface ITaskMarket {
    /* EVENTS */

    event TaskCreated(uint40 indexed task, address indexed requester, Terms terms, string url);
    event Deposited(uint40 indexed task, address indexed from, uint96 amount);
    event EscrowWithdrawn(uint40 indexed task, address indexed to, uint96 amount);
    event NodeBarred(uint40 indexed task, uint32 indexed node, bool barred);
    event BatchPosted(
        uint40 indexed batch, uint40 indexed task, bytes32 indexed planRoot, uint8 grains, uint8 size, uint96 reserved
    );
    /// @param refunded What free grains had reserved, back to escrow.
    event BatchClosed(uint40 indexed batch, uint96 refunded);
    /// @param refunded The unspent replica reserve, back to escrow.
    event BatchSettled(uint40 indexed batch, uint96 refunded);
    event Leased(LeaseId indexed lease, uint40 indexed batch, uint8 first, uint8 grains, uint96 stake);
    event Committed(LeaseId indexed lease, bytes32 commitment);
    event Called(LeaseId indexed lease, address by);
    /// @param drawnBlock The aligned block of shards, of the primary's lease, that the replica re-executes.
    event Taken(LeaseId indexed primary, LeaseId indexed replica, uint16 drawnBlock, uint96 stake);
    /// @param root A primary's result root; a replica's raw subtree node. @param salt zero in an open task.
    event Revealed(LeaseId indexed lease, bytes32 root, bytes32 salt);
    event Contested(LeaseId indexed primary, LeaseId indexed replica);
    /// @param paid Credited to the node's balance: price * shards, or the replica fee.
    event Finalised(LeaseId indexed lease, uint40 indexed batch, bytes32 root, uint96 paid);
    /// @notice A deadline was missed. `penalty = toRequester + burnt + toReserve`, taken from the stake; `toReserve`
    /// replaces the fee of a replica that revealed.
    event Expired(
        LeaseId indexed lease, uint40 indexed batch, uint96 penalty, uint96 toRequester, uint96 burnt, uint96 toReserve
    );
    /// @notice A contest ended without proof: this side loses the late penalty and is unpaid.
    event Voided(LeaseId indexed lease, uint40 indexed batch, uint96 penalty, uint96 toRequester, uint96 burnt);
    /// @notice Proven wrong. `stake = bounty + burnt + toReserve`, a replica's fee included in toReserve.
    event Slashed(
        LeaseId indexed lease, uint40 indexed batch, uint96 stake, uint96 bounty, uint96 burnt, uint96 toReserve
    );
    /// @notice Money of a batch went back to its task's escrow for another reason (grains of a closed batch).
    event Refunded(uint40 indexed batch, uint96 amount);
    /// @notice A convicted replica's fee that the primary's stake had already covered: nobody's gain.
    event FeeBurnt(LeaseId indexed lease, uint40 indexed batch, uint96 amount);
    event Withdrawn(uint32 indexed node, address indexed to, uint96 amount);
    event GameOpened(LeaseId indexed lease, uint24 games);
    event GameClosed(LeaseId indexed lease, uint24 games);
    /// @notice A call of a multicall outside its `must` mask failed; the rest went on.
    event CallFailed(uint256 index, bytes reason);
    event PausedSet(bool paused);
    event GuardianRenounced();

    /* ERRORS */

    error UnknownTask(uint40 task);
    error NotRequester(uint40 task, address caller);
    error NotOperator(uint32 node, address caller);
    error NotArbiter(address caller);
    error NotGuardian(address caller);
    error NewWorkPaused();
    /// @notice A term lies outside [least, most].
    error TermOutOfRange(string term, uint256 value, uint256 least, uint256 most);
    error EscrowShort(uint40 task, uint256 needed, uint256 available);
    error ZeroHash();
    error ZeroAddress();
    error NotGated(uint40 task);
    error NodeIsBarred(uint40 task, uint32 node);
    /// @notice The batch is unknown, closed, or has settled.
    error BatchNotOpen(uint40 batch);
    error GrainsNotFree(uint40 batch, uint8 first, uint8 grains, uint128 free);
    error SlotBusy(uint32 node, uint8 slot);
    /// @notice The slot has another life by now, or was never used.
    error StaleLease(LeaseId lease, uint32 generation);
    error WrongState(LeaseId lease, LeaseState state);
    /// @notice An open task knows no commits.
    error OpenTask(LeaseId lease);
    error DeadlinePassed(LeaseId lease, uint256 deadline);
    /// @notice Not possible before that block.
    error TooEarly(LeaseId lease, uint256 blockNumber);
    /// @notice Not possible after that block.
    error TooLate(LeaseId lease, uint256 blockNumber);
    /// @notice Drawn or called: it may not be revealed alone up to that block.
    error DrawnUntil(LeaseId lease, uint256 blockNumber);
    error NotDrawn(LeaseId lease);
    /// @notice The other of the pair may still act, until its deadline.
    error PeerMayAct(LeaseId lease, uint256 deadline);
    error OwnReplica(uint32 node);
    /// @notice The node's stake was raised in or after the commit's block.
    error StakeTooYoung(uint32 node, uint40 since, uint40 committed);
    error AttemptOutOfRange(uint256 attempt, uint256 most);
    error LotteryLost(uint32 node, uint256 attempt);
    /// @notice Root and salt do not make the commitment.
    error WrongReveal(LeaseId lease, bytes32 expected, bytes32 given);
    error WrongPathLength(uint256 given, uint256 expected);
    /// @notice The block root does not open into the result root.
    error WrongOpening(bytes32 expected, bytes32 given);
    error NoGameOpen(LeaseId lease);
    error NothingToWithdraw(uint32 node);
    error PermitFailed(uint256 value, uint256 allowance);

    /* REQUESTER */

    /// @notice Creates a task, escrowing `amount` of the caller's tokens. @param url Where the requester serves blobs.
    function create(Terms calldata terms, string calldata url, uint96 amount) external returns (uint40 task);

    /// @notice Adds to a task's escrow, by anyone.
    function deposit(uint40 task, uint96 amount) external;

    /// @notice Takes unreserved escrow back, by the requester, at any time.
    function withdrawEscrow(uint40 task, uint96 amount, address to) external;

    /// @notice Posts `grains` (1 to 128) of `size` (1 to 64) shards each, and reserves
    /// `grains * (size * price + fee)`.
    function post(uint40 task, bytes32 planRoot, uint8 grains, uint8 size) external returns (uint40 batch);

    /// @notice No more leases of this batch. Free grains are refunded now, others as their leases end.
    function close(uint40 batch) external;

    /// @notice Bars a node from further primary leases of a gated task.
    function bar(uint40 task, uint32 node, bool barred) external;

    /// @notice Has a committed lease replicated, by the requester or the watcher, at a block <= the draw's.
    function call(LeaseId lease) external;

    /* NODE */

    /// @notice Leases grains [first, first + grains) into a free slot of the caller's node, under its next generation.
    function lease(uint40 batch, uint8 first, uint8 grains, uint32 node, uint8 slot) external returns (LeaseId);

    /// @param commitment keccak256(abi.encode(chainid, market, uint40 slot key, uint32 generation, root, salt)).
    function commit(LeaseId lease, bytes32 commitment) external;

    /// @notice Becomes the replica of a drawn or called lease, into the caller's node's free `slot`.
    /// @param attempt j of the lottery, 1 <= j <= block - d; ignored once the lottery is over.
    function take(LeaseId primary, uint32 node, uint8 slot, uint256 attempt) external returns (LeaseId);

    /// @notice Reveals a lease alone (undrawn, untaken or deserted), a replica's block root, or an open task's root
    /// (salt 0).
    function reveal(LeaseId lease, bytes32 root, bytes32 salt) external;

    /// @notice The primary of a pair, after its replica: opens the drawn block of its result tree.
    /// @param blockRoot Raw subtree node at the drawn index. @param path Exactly h - b siblings, leaf to root.
    function revealPaired(LeaseId lease, bytes32 root, bytes32 salt, bytes32 blockRoot, bytes32[] calldata path)
        external;

    /* EXITS, BY ANYONE: each takes a list and skips what is not ready */

    /// @notice Pays revealed leases whose window has passed without an open game; a primary's replica with it.
    function finalise(LeaseId[] calldata leases) external;
    /// @notice Ends leases whose deadline was missed, at the late penalty or, once both had committed, the whole stake.
    function expire(LeaseId[] calldata leases) external;
    /// @notice Voids contests that ended without proof. Either side may be named.
    function resolve(LeaseId[] calldata leases) external;

    /// @notice Pays a node's balance to where its owner wants it.
    function withdraw(uint32 node) external;

    /* THE JUDGE */

    /// @notice A game is open against a revealed or contested lease: it cannot become final. Within its window only.
    function gameOpened(LeaseId lease) external;
    /// @notice A game ended in the lease's favour. (A conviction ends all of them.)
    function gameClosed(LeaseId lease) external;
    /// @notice The lease was proven wrong. A quarter of the stake goes to the arbiter, which pays provers.
    /// @return bounty Wei of TokenAI sent to the arbiter.
    function convict(LeaseId lease) external returns (uint96 bounty);

    /* EVERYONE */

    /// @notice Calls this contract several times as the caller. @param must Bit i set: call i's failure reverts all.
    function multicall(bytes[] calldata calls, uint256 must) external returns (bytes[] memory results);

    /// @notice EIP-2612 permit of the token for this market; ignored if it fails and the allowance suffices.
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /* GUARDIAN */

    /// @notice Stops or resumes new work only: `create`, `post` and primary leases.
    function setPaused(bool paused) external;
    /// @notice Nobody can pause any more; what is paused resumes.
    function renounceGuardian() external;

    /* VIEWS */

    function taskOf(uint40 task) external view returns (TaskInfo memory);
    function batchOf(uint40 batch) external view returns (BatchInfo memory);
    function leaseOf(LeaseId lease) external view returns (LeaseInfo memory);
    /// @notice Generation that the slot's last lease had (0: never used) and whether it can be leased now.
    function slotOf(uint32 node, uint8 slot) external view returns (uint32 generation, bool free);
    /// @notice The replica fee of a batch, in wei.
    function feeOf(uint40 batch) external view returns (uint96);
    function balanceOf(uint32 node) external view returns (uint96);
    function isBarred(uint40 task, uint32 node) external view returns (bool);
    /// @notice The result a task with FLAG_KEEP_RESULTS keeps for other contracts.
    function resultOf(uint40 batch, uint8 firstGrain) external view returns (bytes32 root, uint8 grains);
    function taskCount() external view returns (uint40);
    function batchCount() external view returns (uint40);
    function paused() external view returns (bool);
    function guardian() external view returns (address);
    function policy() external view returns (Policy memory);
    function token() external view returns (address);
    function registry() external view returns (address);
    function arbiter() external view returns (address);
}
