// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LeaseState} from "../interfaces/ITaskMarket.sol";
import {LeaseId, SlotKey} from "./LeaseId.sol";

/// @notice The first storage slot of a lease, from the lowest bit:
/// `state 8 | batch 40 | first 8 | grains 8 | block 40 | stamp 40 | games 24 | generation 32 | peer 40 | drawn block
/// 16`.
/// The state's byte is a LeaseState, and two flags beside it. A pair's state lives on its primary: a linked replica
/// (peer set) stays `REPLICA | Leased`; unlinked, it is on its own: Leased (it missed its commit), Both (it missed its
/// reveal after both had committed), Revealed or Slashed.
type LeaseWord is uint256;

/// @dev This lease re-executes a block of another.
uint8 constant REPLICA = 0x80;
/// @dev On a primary: its replica's fee was paid, so losing S owes the reserve one fee. On an unlinked replica: its fee
/// was replaced out of the primary's stake, so if it goes unpaid it is burnt rather than the requester's gain.
uint8 constant FEE_COVERED = 0x40;
uint8 constant STATE_MASK = 0x0f;

using {
    state,
    isReplica,
    feeCovered,
    batch,
    first,
    grains,
    blockNumber,
    stamp,
    games,
    generation,
    peer,
    isLinked,
    drawn,
    id,
    withGeneration,
    withState,
    withMove,
    withClockOf,
    withGames,
    withPeer,
    unlinked,
    withDrawn
} for LeaseWord global;

/// @dev As of this block, its generation still to be set.
function newLease(uint8 stateByte, uint40 batch_, uint8 first_, uint8 grains_, uint256 stamp_)
    view
    returns (LeaseWord)
{
    return LeaseWord.wrap(
        uint256(stateByte) | (uint256(batch_) << 8) | (uint256(first_) << 48) | (uint256(grains_) << 56)
            | (block.number << 64) | (stamp_ << 104)
    );
}

/// @dev What a free slot keeps: the generation of its last lease.
function freed(LeaseWord word) pure returns (LeaseWord) {
    return LeaseWord.wrap(LeaseWord.unwrap(word) & (uint256(type(uint32).max) << 168));
}

function state(LeaseWord word) pure returns (LeaseState) {
    return LeaseState(uint8(LeaseWord.unwrap(word)) & STATE_MASK);
}

function isReplica(LeaseWord word) pure returns (bool) {
    return LeaseWord.unwrap(word) & REPLICA != 0;
}

function feeCovered(LeaseWord word) pure returns (bool) {
    return LeaseWord.unwrap(word) & FEE_COVERED != 0;
}

function batch(LeaseWord word) pure returns (uint40) {
    return uint40(LeaseWord.unwrap(word) >> 8);
}

function first(LeaseWord word) pure returns (uint8) {
    return uint8(LeaseWord.unwrap(word) >> 48);
}

function grains(LeaseWord word) pure returns (uint8) {
    return uint8(LeaseWord.unwrap(word) >> 56);
}

function blockNumber(LeaseWord word) pure returns (uint40) {
    return uint40(LeaseWord.unwrap(word) >> 64);
}

function stamp(LeaseWord word) pure returns (uint40) {
    return uint40(LeaseWord.unwrap(word) >> 104);
}

function games(LeaseWord word) pure returns (uint24) {
    return uint24(LeaseWord.unwrap(word) >> 144);
}

function generation(LeaseWord word) pure returns (uint32) {
    return uint32(LeaseWord.unwrap(word) >> 168);
}

function peer(LeaseWord word) pure returns (SlotKey) {
    return SlotKey.wrap(uint40(LeaseWord.unwrap(word) >> 200));
}

function isLinked(LeaseWord word) pure returns (bool) {
    return SlotKey.unwrap(peer(word)) != 0;
}

function drawn(LeaseWord word) pure returns (uint16) {
    return uint16(LeaseWord.unwrap(word) >> 240);
}

function id(LeaseWord word, SlotKey slotKey) pure returns (LeaseId) {
    return slotKey.withGeneration(generation(word));
}

/// @dev On a new lease only.
function withGeneration(LeaseWord word, uint32 generation_) pure returns (LeaseWord) {
    return LeaseWord.wrap(LeaseWord.unwrap(word) | (uint256(generation_) << 168));
}

/// @dev Another state byte, the clock untouched.
function withState(LeaseWord word, uint8 stateByte) pure returns (LeaseWord) {
    return LeaseWord.wrap((LeaseWord.unwrap(word) & ~uint256(0xff)) | stateByte);
}

/// @dev A change of state: another state byte, this block, a new deadline.
function withMove(LeaseWord word, uint8 stateByte, uint256 stamp_) view returns (LeaseWord) {
    uint256 kept = LeaseWord.unwrap(word) & ~((uint256(type(uint80).max) << 64) | 0xff);
    return LeaseWord.wrap(kept | stateByte | (block.number << 64) | (stamp_ << 104));
}

/// @dev The block and deadline of `other`: what a replica takes along when it is unlinked.
function withClockOf(LeaseWord word, LeaseWord other) pure returns (LeaseWord) {
    uint256 clock = uint256(type(uint80).max) << 64;
    return LeaseWord.wrap((LeaseWord.unwrap(word) & ~clock) | (LeaseWord.unwrap(other) & clock));
}

function withGames(LeaseWord word, uint24 games_) pure returns (LeaseWord) {
    uint256 kept = LeaseWord.unwrap(word) & ~(uint256(type(uint24).max) << 144);
    return LeaseWord.wrap(kept | (uint256(games_) << 144));
}

function withPeer(LeaseWord word, SlotKey peer_) pure returns (LeaseWord) {
    return LeaseWord.wrap(LeaseWord.unwrap(unlinked(word)) | (uint256(SlotKey.unwrap(peer_)) << 200));
}

function unlinked(LeaseWord word) pure returns (LeaseWord) {
    return LeaseWord.wrap(LeaseWord.unwrap(word) & ~(uint256(type(uint40).max) << 200));
}

function withDrawn(LeaseWord word, uint16 drawn_) pure returns (LeaseWord) {
    return LeaseWord.wrap((LeaseWord.unwrap(word) & ((uint256(1) << 240) - 1)) | (uint256(drawn_) << 240));
}
