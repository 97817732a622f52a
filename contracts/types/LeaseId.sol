// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Names one life of one lease slot: `node (32 bits) << 40 | slot (8 bits) << 32 | generation (32 bits)`.
/// A slot is reused with the next generation, so an identifier never means two leases.
type LeaseId is uint72;

/// @notice A lease slot without its generation, `node << 8 | slot`: the storage key, and what `peer` holds.
type SlotKey is uint40;

using {key, generation, node} for LeaseId global;
using {withGeneration, nodeOf} for SlotKey global;

function toSlotKey(uint32 node_, uint8 slot) pure returns (SlotKey) {
    return SlotKey.wrap((uint40(node_) << 8) | slot);
}

function key(LeaseId id) pure returns (SlotKey) {
    return SlotKey.wrap(uint40(LeaseId.unwrap(id) >> 32));
}

function generation(LeaseId id) pure returns (uint32) {
    return uint32(LeaseId.unwrap(id));
}

function node(LeaseId id) pure returns (uint32) {
    return uint32(LeaseId.unwrap(id) >> 40);
}

function withGeneration(SlotKey slotKey, uint32 generation_) pure returns (LeaseId) {
    return LeaseId.wrap((uint72(SlotKey.unwrap(slotKey)) << 32) | generation_);
}

function nodeOf(SlotKey slotKey) pure returns (uint32) {
    return uint32(SlotKey.unwrap(slotKey) >> 8);
}
