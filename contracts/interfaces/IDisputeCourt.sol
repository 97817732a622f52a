// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LeaseId} from "../types/LeaseId.sol";
import {IArbiter} from "./IArbiter.sol";

/// @notice Who makes the next move.
enum Side {
    Challenger,
    Defender
}

/// @notice What was posted last, hence what the next move may be.
enum Phase {
    /// Opened without an interval: the defender answers.
    Result,
    /// Opened at an interval: the challenger posts below `last.root`, the defender's checkpoint, without a pick.
    Picked,
    /// Hashes of the checkpoints' tree.
    Checkpoints,
    /// States within a section of steps.
    States,
    /// One step: the node half lies on the stack, the state half is `last`.
    Trace,
    /// Hashes of the node half's tree.
    Nodes,
    /// Hashes of the new state's tree.
    NewState,
    /// Hashes of a tensor's tree.
    Tensor,
    /// The bytes of one leaf of a tensor.
    Leaf,
    /// One element is named: `value.y` is what the defender must justify.
    Element,
    /// Partial results of a long reduction.
    Partials,
    /// What the element reads.
    Reads
}

/// @notice The entries below one node of a tree, of which only their raw root is kept.
struct Posting {
    /// Raw root over the entries, padded with zeros. In `Picked` a state root, in `Leaf` the root over the leaf's
    /// words.
    bytes32 root;
    /// Index of the first entry, on its own level of the tree.
    uint64 first;
    /// Level of the entries: 0 is the tree's lowest.
    uint8 level;
    /// Levels between the entries and the root: at most 2^depth entries.
    uint8 depth;
}

/// @notice The disputed tensor, once somebody has posted below its root.
struct Tensor {
    /// Number of its node, inputs first.
    uint40 node;
    uint8 dtype;
    /// Bytes of an element.
    uint8 width;
    /// Bytes of the tensor.
    uint64 size;
    /// The node's descriptor's hash.
    bytes32 descriptor;
    /// keccak256 of its operand numbers as the node's leaf has them.
    bytes32 operands;
}

/// @notice The disputed element.
struct Value {
    /// Index of the leaf that was posted.
    uint64 leaf;
    /// Row-major number of the element.
    uint64 element;
    /// What the defender claims, as INodeEvaluator spells it: the element's bytes, or a partial result's.
    uint64 y;
    /// Positions of the reduction over which it claims it. 0 and 0: all of them.
    uint64 from;
    uint64 to;
    /// How many times partial results were posted, at most 2.
    uint8 rounds;
    /// Bytes a position of what was posted last: the reads', or 8 for partial results.
    uint16 stride;
    /// The list of segments of what was posted last (docs/court.md, 5).
    bytes32 posted;
}

/// @notice All that a game knows. The contract keeps its hash; every move passes it whole, and `Moved` emits the next:
/// in bytes, each field in its own width and big-endian, in this order, and nothing between or behind them.
struct Game {
    LeaseId lease;
    /// The disputed shard, counted within the lease (a replica's: within its block).
    uint16 position;
    address challenger;
    /// Block of the opening.
    uint40 opened;
    /// Seconds a move may take, of the lease's task.
    uint24 moveTime;
    Phase phase;
    Side turn;
    /// The shard's id, steps and checkpoint interval.
    bytes32 shard;
    uint40 steps;
    uint40 interval;
    /// The checkpoints root that the challenger committed to before it opened; zero if it did not.
    bytes32 own;
    /// The challenger's state root at the disputed checkpoint, and which that is; zero while unknown.
    bytes32 entry;
    uint40 checkpoint;
    /// Wei that the challenger is owed by a convicted node: refunds out of its bond, and its own moves at their price.
    uint96 costs;
    /// The agreed state left of the section: before its first step.
    bytes32 pred;
    /// The section's steps, [firstStep, lastStep), of which the state after the last is disputed.
    uint40 firstStep;
    uint40 lastStep;
    /// The program's root; from the trace on the raw root over its node leaves.
    bytes32 program;
    /// The program's header, from the trace on.
    bytes24 header;
    /// What was posted last.
    Posting last;
    Tensor tensor;
    Value value;
    /// Postings above `last`, highest first: of the checkpoints while they are walked, of the nodes to the end.
    Posting[] stack;
}

/// @notice What a shard's id binds (docs/protocol.md, 2).
struct Shard {
    bytes32 program;
    bytes32 constants;
    bytes32 state;
    uint40 steps;
    uint40 interval;
    bytes32 parameters;
}

/// @notice What a challenger must show to open a game.
struct Opening {
    LeaseId lease;
    uint16 position;
    Shard shard;
    /// From the shard's id to the batch's plan root.
    bytes32[] planPath;
}

/// @notice What the challenger had committed to. All zero: to nothing, and there is no bounty.
struct Precommitment {
    /// Its own checkpoints root (finalised).
    bytes32 checkpoints;
    bytes32 salt;
    /// The challenger is the other of the lease's pair: its commit counts instead of a pre-commit, and before any.
    bool paired;
    /// Then: from its own result hash up to its own lease's root (a replica's: its block's).
    bytes32[] path;
}

/// @notice Both ends of one interval of the defender's checkpoints.
struct Interval {
    /// Which checkpoint is false, from 0.
    uint40 checkpoint;
    /// From the defender's result hash up to the lease's root.
    bytes32[] resultPath;
    /// The false entry, and its path in the checkpoints' tree.
    bytes32 claim;
    bytes32[] claimPath;
    /// The entry left of it, and its path; zero and empty for checkpoint 0.
    bytes32 before;
    bytes32[] beforePath;
}

/// @notice An entry of the opponent's last posting. Its path has exactly the posting's depth.
struct Pick {
    /// On the entries' own level. In `Trace`, entries of the node half come first, then those of the state half.
    uint64 index;
    bytes32 entry;
    bytes32[] path;
    /// If a state was picked, and it is not the first of its posting: the state left of it. A checkpoint's (any but
    /// number 0) is opened under the deepest of `last` and `stack` that covers it, from its lowest level.
    bytes32 before;
    bytes32[] beforePath;
}

/// @notice A node's leaf in the program's tree: `sha256(0x00 || descriptor hash || operands)`.
struct NodeOpening {
    /// The descriptor's head: kind, type, rank, dimensions.
    bytes head;
    /// sha256 of the descriptor's body.
    bytes32 body;
    /// Operand numbers, u32 little-endian.
    bytes operands;
    bytes32[] path;
}

/// @notice Which element is false. If the challenger posted the leaf, the defender names it and what it claims instead.
struct Naming {
    uint64 element;
    /// The defender's claim; ignored where the defender posted the leaf.
    uint64 y;
    /// The 32 bytes of the leaf that hold the element (zero behind the leaf's end), and their path of 5 hashes.
    bytes32 word;
    bytes32[] path;
}

/// @notice Part of what was posted: whole positions, and the hashes of all segments (docs/court.md, 5).
struct Segment {
    bytes data;
    bytes32[] hashes;
}

/// @notice Where a read's true value is. Everything is empty where the index map leads outside.
struct Source {
    /// From the tensor's root to the posting or the list that covers it.
    bytes32[] path;
    /// The tensor's head: `02 || type || rank || dimensions || raw root`.
    bytes head;
    /// The leaf's bytes, and its path in the tensor's tree.
    bytes leaf;
    bytes32[] leafPath;
    /// The shard, for constants and parameters; zero for others.
    Shard shard;
}

/// @notice Shows that a program is not valid: one clause, one node, at most one producer (IProgramValidity).
struct Evidence {
    uint8 clause;
    bytes24 header;
    /// Raw root over the program's node leaves.
    bytes32 nodes;
    uint40 node;
    bytes descriptor;
    /// Bytes of the descriptor that its head takes.
    uint256 headLength;
    bytes operands;
    bytes32[] path;
    /// Which operand is meant, where the clause is about one.
    uint256 operand;
    /// The node that `producerOf` names; empty where it needs none.
    NodeOpening producer;
}

/// @notice What the contract keeps of a game.
struct GameBook {
    /// keccak256 of the game's bytes; zero once the game is over.
    bytes32 state;
    /// Wei left.
    uint96 bond;
    /// The next move is late when `timestamp > deadline` and `block.number > blockNumber + 32`.
    uint40 deadline;
    uint40 blockNumber;
    /// Rank of the challenger's pre-commit; 0 without one, 1 for the other of a pair.
    uint40 order;
}

/// @notice What the contract keeps of a node.
struct NodeBook {
    /// Wei.
    uint96 deposit;
    /// When the moves that need re-execution, of the games open now, are due at the latest.
    uint40 busyUntil;
    /// Games open against its leases, and demands that it has not answered.
    uint24 games;
    uint24 demands;
    /// Convictions that are not settled: the deposit cannot be withdrawn, since challengers have claims on it.
    uint24 unsettled;
    /// Whether the deposit reaches its floor: the bit that the registry was told.
    bool enough;
}

/// @notice What the contract keeps of an accused lease.
struct Conviction {
    /// 0: not convicted.
    uint40 time;
    uint40 blockNumber;
    uint24 moveTime;
    /// Wei of TokenAI still to be paid.
    uint96 bounty;
    /// Games open; 0 once convicted.
    uint24 games;
    /// All is paid, and the node's deposit is its own again.
    bool settled;
    /// The challenger who proved it, and the low bits of its game's name; zero for a demand that was not answered.
    address prover;
    uint96 proof;
}

/// @notice What can be demanded of a revealed lease: 128 hashes.
enum Item {
    /// Result hashes of the lease.
    Results,
    /// State roots of one shard's checkpoints, hence its result hash too.
    Checkpoints
}

/// @notice One item of one lease.
struct Demand {
    LeaseId lease;
    Item item;
    /// The shard, for checkpoints; 0 for results.
    uint16 position;
    /// Entries [128 * part, 128 * part + 128).
    uint32 part;
}

/// @notice What the contract keeps of a demand.
struct DemandBook {
    address demander;
    /// Wei.
    uint96 prepaid;
    uint40 deadline;
    uint40 blockNumber;
    /// Entries of the list.
    uint40 count;
    bool answered;
    /// The shard's id, for checkpoints.
    bytes32 shard;
}

/// @title The court: settles a challenge by recomputing one element of one operation. docs/court.md is its protocol.
/// @notice A challenger and the node that it accuses move in turn. Each move picks an entry in the opponent's last
/// posting and posts its own, different, version one level below. Only the challenger's address moves for it, only the
/// node's operator or owner for the node. A move names the game and passes the state that it answers; a move that does
/// not hold reverts, and whoever does not move in time loses.
///
/// Raw roots are SHA-256 (docs/protocol.md, 1). Entries outside a list's count are zero and are not passed;
/// entries inside are never zero.
///
/// Bonds and deposits are ETH. Nobody owns the court, nobody can change it, and no payment can block a move: one that
/// fails is credited to its receiver, who fetches it by `withdrawCredit`.
interface IDisputeCourt is IArbiter {
    /* EVENTS */

    /// @param order The rank: lower is earlier. Ranks start at 2.
    event Precommitted(bytes32 indexed hash, uint40 order);
    event Opened(bytes32 indexed game, LeaseId indexed lease, address indexed challenger, uint96 bond, uint40 order);
    /// @notice After every move and opening. @param posted What the move posted: its entries one after the other (of a
    /// trace, the node half's first), the leaf, the partial results or the reads.
    event Moved(bytes32 indexed game, bytes state, uint40 deadline, bytes posted);
    /// @notice Part of the bond that paid for a move of the defender, or whoever told that the challenger is silent.
    event Refunded(bytes32 indexed game, address indexed to, uint96 amount);
    /// @notice The challenger lost. @param burnt What was left of its bond.
    event Dismissed(bytes32 indexed game, LeaseId indexed lease, uint96 burnt);
    /// @notice The defender showed that the program is not valid.
    event ProgramInvalid(bytes32 indexed game, uint8 clause, uint40 node);
    /// @param game The proof; zero for a demand that was not answered. @param bounty Wei of TokenAI that the court
    /// now holds. @param paid Wei of the node's deposit that made the prover whole.
    event Convicted(LeaseId indexed lease, bytes32 indexed game, uint96 bounty, uint96 paid);
    /// @notice A challenger of a convicted lease proved that its pre-commit holds what it posted.
    event Claimed(LeaseId indexed lease, bytes32 indexed game, uint40 order, uint96 costs);
    event BountyPaid(LeaseId indexed lease, address indexed to, uint96 amount);
    /// @notice Wei of the node's deposit that made another challenger whole.
    event Compensated(LeaseId indexed lease, address indexed to, uint96 amount);
    event BondReturned(bytes32 indexed game, address indexed to, uint96 amount);
    event DepositAdded(uint32 indexed node, address indexed from, uint96 amount, uint96 deposit);
    event DepositWithdrawn(uint32 indexed node, address indexed to, uint96 amount, uint96 deposit);
    event Demanded(bytes32 indexed demand, LeaseId indexed lease, Demand item, uint40 deadline);
    /// @param resultHash Of the shard, for checkpoints. @param path From the first entry's level up to the list's root.
    event DemandAnswered(bytes32 indexed demand, bytes32 resultHash, bytes32[] entries, bytes32[] path);
    event DemandMissed(bytes32 indexed demand, LeaseId indexed lease);
    /// @notice A payment failed, and waits for its receiver; or an opening paid more than its bond.
    event Credited(address indexed to, uint256 amount);
    event CreditWithdrawn(address indexed from, address indexed to, uint256 amount);

    /* ERRORS */

    error NotRegistry(address caller);
    error ZeroAddress();
    /// @notice The game is over, or its state is another one.
    error WrongGame(bytes32 game, bytes32 expected, bytes32 given);
    error GameExists(bytes32 game);
    error NotYourTurn(bytes32 game, address caller);
    /// @notice This move does not answer what was posted last.
    error WrongPhase(bytes32 game, Phase phase);
    error TooLate(uint256 deadline);
    error NotYet(uint256 deadline);
    /// @notice The lease was convicted: all its games are over.
    error AlreadyConvicted(LeaseId lease);
    error NotConvicted(LeaseId lease);
    error BondShort(uint256 needed, uint256 given);
    error UnknownPrecommitment(bytes32 hash);
    /// @notice Pre-committed in this very block.
    error PrecommittedTooLate(bytes32 hash);
    error NotPaired(LeaseId lease);
    /// @notice An index outside the count that is bound.
    error OutsideCount(uint256 index, uint256 count);
    error WrongPathLength(uint256 given, uint256 expected);
    /// @notice The opening does not end in the root that binds it.
    error WrongOpening(bytes32 expected, bytes32 given);
    error WrongCount(uint256 given, uint256 expected);
    /// @notice An entry inside the count is zero.
    error ZeroEntry(uint256 index);
    /// @notice The posting is the opponent's own claim.
    error SameClaim(bytes32 claim);
    /// @notice Steps and checkpoint interval of no shard.
    error WrongShard(uint40 steps, uint40 interval);
    /// @notice A section of one step is posted as its trace, a longer one as states.
    error WrongSection(uint40 firstStep, uint40 lastStep);
    error WrongLength(uint256 given, uint256 expected);
    /// @notice The node does not give what the defender claims.
    error NotJustified(uint256 claimed, uint256 computed);
    error RangeTooShort(uint256 positions);
    error TooManyRounds(uint256 rounds);
    /// @notice An operand must stand before the node, and be no new state.
    error OperandNotBefore(uint256 operand, uint256 node);
    /// @notice The tensor's head is not of the operand's type and size.
    error WrongHead(bytes32 root);
    /// @notice The read is true.
    error ReadIsTrue(uint256 value);
    error NotInvalid(uint8 clause, uint256 node);
    error NotOperator(uint32 node, address caller);
    error UnknownNode(uint32 node);
    /// @notice The game was never open at the conviction, or its challenger was late.
    error NothingToClaim(bytes32 game);
    error ClaimExists(bytes32 game);
    error WrongHint(bytes32 hint);
    error DepositShort(uint32 node, uint256 needed, uint256 available);
    error DepositClaimed(uint32 node, uint256 unsettled);
    error DemandExists(bytes32 demand);
    error NoDemand(bytes32 demand);
    error NothingToWithdraw(address from);
    error PaymentFailed(address to, uint256 amount);

    /* OPENING, BY ANYONE */

    /// @notice Records `keccak256(abi.encode(uint256 chain id, address court, uint72 lease, bytes32 lease's root,
    /// uint16 position, bytes32 own checkpoints root, address challenger, bytes32 salt))`, at least one block before
    /// the opening.
    function precommit(bytes32 hash) external returns (uint40 order);

    /// @notice Opens a game. The defender answers with its checkpoints. What is paid beyond `bondOf` is credited.
    /// @return game keccak256(abi.encode(uint256 chain id, address court, uint72 lease, bytes32 lease's root, uint16
    /// position, address challenger))
    function open(Opening calldata opening, Precommitment calldata precommitment)
        external
        payable
        returns (bytes32 game);

    /// @notice Opens a game at one interval of the defender's checkpoints; the challenger then posts below its end.
    function openAt(Opening calldata opening, Precommitment calldata precommitment, Interval calldata interval)
        external
        payable
        returns (bytes32 game);

    /* THE WALK */

    /// @notice The defender's checkpoints. `Result` -> `Checkpoints`. @param path From its result hash up to the
    /// lease's root. @param entries The top of their tree: share(height) levels (docs/court.md, 2) below its raw root,
    /// which must finalise to what the result hash binds.
    function answer(
        bytes32 id,
        bytes calldata game,
        bytes32[] calldata path,
        bytes32[] calldata entries
    ) external;

    /// @notice Posts share(level) levels below a picked hash, or the states of a picked section of n > 1 steps: m, at
    /// most 32, after its steps floor(jn/m), j = 1..m (docs/court.md, 2).
    /// `Checkpoints`, `Nodes`, `NewState`, `Tensor`, `Trace` (a hash above the lowest level), `Picked`, `States`.
    function descend(bytes32 id, bytes calldata game, Pick calldata pick, bytes32[] calldata entries) external;

    /// @notice Posts the one step of a picked section. `Picked`, `Checkpoints`, `States` -> `Trace`.
    /// @param header The program's. @param nodes Raw root over the program's node leaves. @param nodeHalf The roots
    /// of the nodes' outputs but inputs' and new state's, share(height) levels below their tree's root.
    /// @param stateHalf The new state's, min(5, share(height)) levels below its root.
    function trace(
        bytes32 id,
        bytes calldata game,
        Pick calldata pick,
        bytes24 header,
        bytes32 nodes,
        bytes32[] calldata nodeHalf,
        bytes32[] calldata stateHalf
    ) external;

    /// @notice Posts below the root of a picked tensor: share(height) levels below its raw root, one hash after the
    /// other; or the bytes of a tensor of one leaf. `Trace`, `Nodes`, `NewState` -> `Tensor` or `Leaf`.
    function tensor(
        bytes32 id,
        bytes calldata game,
        Pick calldata pick,
        NodeOpening calldata node,
        bytes calldata posting
    ) external;

    /// @notice Posts the bytes of a picked leaf. `Tensor` -> `Leaf`.
    function leaf(bytes32 id, bytes calldata game, Pick calldata pick, bytes calldata data) external;

    /* THE ELEMENT */

    /// @notice The challenger names the false element of the defender's leaf. `Leaf` -> `Element`.
    function name(bytes32 id, bytes calldata game, Naming calldata naming) external;

    /// @notice The defender posts min(256, positions) partial results that combine to its claim, at most twice.
    /// `Element`, or `Leaf` of the challenger, -> `Partials`. @param naming Read in `Leaf` only.
    function partials(
        bytes32 id,
        bytes calldata game,
        Naming calldata naming,
        bytes calldata descriptor,
        bytes calldata results
    ) external;

    /// @notice The challenger picks the partial result that is false. `Partials` -> `Element`.
    function pickPartial(bytes32 id, bytes calldata game, uint256 index, Segment calldata segment) external;

    /// @notice The defender posts what its claim reads: at most 2,048 bytes, from which the node gives exactly the
    /// claim. `Element`, or `Leaf` of the challenger, -> `Reads`. @param naming Read in `Leaf` only.
    function justify(
        bytes32 id,
        bytes calldata game,
        Naming calldata naming,
        bytes calldata descriptor,
        bytes calldata reads
    ) external;

    /// @notice The challenger shows that one read is false, and has won. `Reads`. @param operands The operand
    /// numbers. @param segment The segment that holds the position.
    function refute(
        bytes32 id,
        bytes calldata game,
        bytes calldata descriptor,
        bytes calldata operands,
        uint256 operand,
        uint256 position,
        Segment calldata segment,
        Source calldata source
    ) external;

    /* OTHER ENDS */

    /// @notice The defender, at any of its moves, shows that the program is not valid, and has won.
    function invalid(bytes32 id, bytes calldata game, Evidence calldata evidence) external;

    /// @notice Whoever did not move in time has lost. By anyone, who is paid for it out of a silent challenger's bond.
    function timeout(bytes32 id, bytes calldata game) external;

    /* AFTER A CONVICTION */

    /// @notice Within one moveTime (and 32 blocks), for a game that was open at the conviction, its challenger not
    /// late: proves that its pre-commit holds the entry it posted, so that it may be paid. By anyone, the prover's game
    /// included. @param path The entry's, in the challenger's own checkpoints. @param hint The game with the highest
    /// lower rank that has claimed; zero for none.
    function claim(bytes32 id, bytes calldata game, bytes32[] calldata path, bytes32 hint) external;

    /// @notice Once no more can be claimed: pays the bounty, then at most `most` claims out of the node's deposit,
    /// which the node may withdraw again when no claim is left. By anyone.
    function settle(LeaseId lease, uint256 most) external;

    /// @notice Returns the bond of a game that another's proof has ended. By anyone.
    function returnBond(bytes32 id, bytes calldata game) external;

    /* DEPOSITS */

    /// @notice Adds to a node's deposit, by anyone. With `floorOf` it may lease.
    function deposit(uint32 node) external payable;
    /// @notice Takes out what exceeds the floor, or all of it without a live lease, by the operator or the owner, to
    /// where the owner wants balances paid.
    function withdrawDeposit(uint32 node, uint96 amount) external;
    /// @notice Sets the node's bit in the registry to whether its deposit reaches the floor. By anyone.
    function refreshDeposit(uint32 node) external;

    /* DEMANDS */

    /// @notice Demands an item of a lease in its window, for `demandPriceOf` its node; what is paid beyond is credited.
    /// @param opening Shows the shard, for checkpoints; only its lease is read for results.
    function demand(Demand calldata item, Opening calldata opening) external payable returns (bytes32 id);
    /// @notice The node answers. @param entries The part's. @param path From the part's raw root up to the list's.
    /// @param resultPath For checkpoints: from the result hash up to the lease's root.
    function answerDemand(
        Demand calldata item,
        bytes32[] calldata entries,
        bytes32[] calldata path,
        bytes32[] calldata resultPath
    ) external;
    /// @notice A demand was not answered in time: the node loses the lease's whole stake, and nobody gets a bounty.
    function timeoutDemand(Demand calldata item) external;

    /* EVERYONE */

    /// @notice Pays what is credited to the caller.
    function withdrawCredit(address payable to) external;

    /* VIEWS */

    function gameOf(bytes32 id) external view returns (GameBook memory);
    function nodeOf(uint32 node) external view returns (NodeBook memory);
    function convictionOf(LeaseId lease) external view returns (Conviction memory);
    function demandOf(bytes32 id) external view returns (DemandBook memory);
    function creditOf(address who) external view returns (uint256);
    /// @notice Rank of a pre-commit (0: none) and its block.
    function precommitOf(bytes32 hash) external view returns (uint40 order, uint40 blockNumber);
    /// @notice The bond that the next game against the lease costs `challenger`, in wei: the base bond x
    /// 2^floor(k / 16) with k games open; the base bond for the requester's and the other of the pair's first game.
    function bondOf(LeaseId lease, address challenger) external view returns (uint256);
    /// @notice The deposit below which the node may not lease: max(4, live leases / 8) games.
    function floorOf(uint32 node) external view returns (uint256);
    /// @notice What one game may cost both sides, in wei, at the cap.
    function gamePrice() external view returns (uint256);
    /// @notice What the next demand of the node must prepay, in wei: its answer at the cap x 2^floor(k / 16) with k
    /// open.
    function demandPriceOf(uint32 node) external view returns (uint256);
    /// @notice Highest gas price at which moves are refunded.
    function gasPriceCap() external view returns (uint256);
    function token() external view returns (address);
    function registry() external view returns (address);
    function market() external view returns (address);
    function evaluator() external view returns (address);
    function validity() external view returns (address);
}
