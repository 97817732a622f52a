// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Conviction, DemandBook, GameBook, NodeBook} from "../interfaces/IDisputeCourt.sol";
import {INodeEvaluator} from "../interfaces/INodeEvaluator.sol";
import {INodeRegistry} from "../interfaces/INodeRegistry.sol";
import {IProgramValidity} from "../interfaces/IProgramValidity.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {TokenAI} from "../TokenAI.sol";
import {LeaseId} from "../types/LeaseId.sol";

struct PrecommitBook {
    uint40 order;
    uint40 blockNumber;
}

/// @notice A place in the queue of a convicted lease's challengers.
struct Claim {
    /// The game with the next higher rank.
    bytes32 next;
    address challenger;
    /// Wei that the node's deposit owes.
    uint96 costs;
    LeaseId lease;
    uint40 order;
}

struct LeaseBook {
    Conviction conviction;
    /// The checkpoints root that the prover has shown to be its own.
    bytes32 proverRoot;
    /// The claim with the lowest rank.
    bytes32 firstClaim;
}

/// @notice All that the court stores: from slot 0, in the court and in the libraries that work for it.
struct CourtStorage {
    INodeRegistry registry;
    uint96 gasPriceCap;
    ITaskMarket market;
    uint40 precommits;
    TokenAI token;
    INodeEvaluator evaluator;
    IProgramValidity validity;
    mapping(bytes32 game => GameBook) games;
    mapping(LeaseId => LeaseBook) leases;
    mapping(uint32 node => NodeBook) nodes;
    mapping(bytes32 hash => PrecommitBook) precommitments;
    /// Whether the requester, or the other of a pair, has had its game on a lease at the base bond.
    mapping(bytes32 leaseAndParty => bool) exempted;
    mapping(bytes32 game => Claim) claims;
    /// The lowest rank among a lease's claims with the same own root.
    mapping(bytes32 leaseAndRoot => bytes32 game) firstWith;
    mapping(bytes32 id => DemandBook) demands;
    mapping(address => uint256) credits;
}

/// @notice The libraries' functions have the court's own arguments, so that its calldata is passed on as it came.
library Court {
    function stored() internal pure returns (CourtStorage storage s) {
        assembly ("memory-safe") {
            s.slot := 0
        }
    }
}
