// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {BatchWord} from "./BatchWord.sol";
import {SlotKey} from "./LeaseId.sol";
import {LeaseWord} from "./LeaseWord.sol";
import {TermsWord} from "./TermsWord.sol";

struct Task {
    TermsWord terms;
    address watcher;
    uint24 moveTime;
    uint8 maxGrains;
    uint8 flags;
    uint8 revealDepth;
    address requester;
    uint96 escrow;
}

struct Batch {
    BatchWord word;
    bytes32 planRoot;
}

struct Lease {
    LeaseWord word;
    /// The commit, overwritten by the result root.
    bytes32 root;
}

struct KeptResult {
    bytes32 root;
    uint8 grains;
}

/// @notice All that the market stores. One struct, so that its linked library works on the same storage.
struct MarketStorage {
    address guardian;
    bool paused;
    uint40 taskCount;
    uint40 batchCount;
    mapping(uint40 task => Task) tasks;
    mapping(uint40 batch => Batch) batches;
    mapping(SlotKey => Lease) leases;
    mapping(uint32 node => uint96) balances;
    mapping(uint40 task => mapping(uint32 node => bool)) barred;
    mapping(uint40 batch => mapping(uint8 firstGrain => KeptResult)) results;
}
