// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LeaseState, Terms} from "../../contracts/interfaces/ITaskMarket.sol";
import {BatchWord, newBatch, run} from "../../contracts/types/BatchWord.sol";
import {LeaseId, SlotKey, toSlotKey} from "../../contracts/types/LeaseId.sol";
import {LeaseWord, freed, newLease} from "../../contracts/types/LeaseWord.sol";
import {TermsWord, packTerms} from "../../contracts/types/TermsWord.sol";
import {vm} from "./Cheatcodes.sol";
import {between, requireEqual, requireThat} from "./Assertions.sol";

/// @notice Packed words: each field comes back as it was put in, and changing one leaves all the others alone.
contract WordsTest {
    struct BatchFields {
        uint40 task;
        uint8 grains;
        uint256 size;
        uint256 longest;
        bool open;
        bool keep;
        bool gated;
        uint128 free;
        uint8 unsettled;
        uint16 replicasPaid;
        uint40 posted;
    }

    struct LeaseFields {
        uint8 stateByte;
        uint40 batch;
        uint8 first;
        uint8 grains;
        uint40 blockNumber;
        uint40 stamp;
        uint24 games;
        uint32 generation;
        uint40 peer;
        uint16 drawn;
    }

    function testFuzz_terms(Terms memory terms) external pure {
        TermsWord word = packTerms(terms);
        requireEqual("price", word.price(), terms.price);
        requireEqual("computeSeconds", word.computeSeconds(), terms.computeSeconds);
        requireEqual("revealSeconds", word.revealSeconds(), terms.revealSeconds);
        requireEqual("challengeSeconds", word.challengeSeconds(), terms.challengeSeconds);
        requireEqual("stakeFactor", word.stakeFactor(), terms.stakeFactor);
        requireEqual("lateBp", word.lateBp(), terms.lateBp);
        requireEqual("drawBp", word.drawBp(), terms.drawBp);
        requireEqual("feePercent", word.feePercent(), terms.feePercent);
        requireEqual("drawDelay", word.drawDelay(), terms.drawDelay);
        requireEqual("lotteryBlocks", word.lotteryBlocks(), terms.lotteryBlocks);
        requireEqual("blockLog2", word.blockLog2(), terms.blockLog2);
    }

    function testFuzz_leaseId(uint32 node, uint8 slot, uint32 generation) external pure {
        SlotKey key = toSlotKey(node, slot);
        LeaseId id = key.withGeneration(generation);
        requireEqual("key", SlotKey.unwrap(id.key()), SlotKey.unwrap(key));
        requireEqual("generation", id.generation(), generation);
        requireEqual("node", id.node(), node);
        requireEqual("node of key", key.nodeOf(), node);
        requireEqual("slot", uint8(SlotKey.unwrap(key)), slot);
    }

    function testFuzz_newBatch(BatchFields memory fields) external {
        (BatchWord word, BatchFields memory made) = _batch(fields);
        made.free = uint128((uint256(1) << made.grains) - 1);
        (made.unsettled, made.replicasPaid) = (made.grains, 0);
        _requireBatch(word, made);
    }

    function testFuzz_batchChanges(BatchFields memory fields, uint8 settled) external {
        (uint128 free, uint16 paid) = (fields.free, fields.replicasPaid);
        (BatchWord word, BatchFields memory made) = _batch(fields);
        made.free = uint128((uint256(1) << made.grains) - 1);
        (made.unsettled, made.replicasPaid) = (made.grains, 0);
        (word, made.free) = (word.withFree(free), free);
        _requireBatch(word, made);
        (word, made.replicasPaid) = (word.withReplicasPaid(paid), paid);
        _requireBatch(word, made);
        settled = uint8(between(settled, 0, made.grains));
        (word, made.unsettled) = (word.withoutUnsettled(settled), made.grains - settled);
        _requireBatch(word, made);
        (word, made.posted) = (word.closed(), 0);
        _requireBatch(word, made);
    }

    /// @dev Bit by bit: exactly the grains of the run.
    function testFuzz_run(uint256 seed) external pure {
        uint256 count = between(seed, 1, 128);
        uint256 first = between(seed >> 128, 0, 127);
        uint256 bits = run(uint8(first), uint8(count));
        for (uint256 i; i < 256; ++i) {
            requireEqual("bit", (bits >> i) & 1, i >= first && i < first + count ? 1 : 0);
        }
    }

    function testFuzz_newLease(LeaseFields memory fields) external {
        (LeaseWord word, LeaseFields memory made) = _lease(fields);
        _requireLease(word, made);
    }

    function testFuzz_leaseChanges(LeaseFields memory fields, LeaseFields memory other) external {
        (LeaseWord word, LeaseFields memory made) = _lease(fields);
        (word, made.stateByte) = (word.withState(other.stateByte & 0xc7), other.stateByte & 0xc7);
        _requireLease(word, made);
        (word, made.games) = (word.withGames(other.games), other.games);
        _requireLease(word, made);
        (word, made.peer) = (word.withPeer(SlotKey.wrap(other.peer)), other.peer);
        _requireLease(word, made);
        (word, made.drawn) = (word.withDrawn(other.drawn), other.drawn);
        _requireLease(word, made);
        vm.roll(other.blockNumber);
        word = word.withMove(other.stateByte & 0xc7, other.stamp);
        (made.stateByte, made.blockNumber, made.stamp) = (other.stateByte & 0xc7, other.blockNumber, other.stamp);
        _requireLease(word, made);
        (word, made.peer) = (word.unlinked(), 0);
        _requireLease(word, made);
    }

    function testFuzz_leaseTakesAnothersClock(LeaseFields memory fields, LeaseFields memory other) external {
        (LeaseWord word, LeaseFields memory made) = _lease(fields);
        (LeaseWord clock, LeaseFields memory source) = _lease(other);
        (made.blockNumber, made.stamp) = (source.blockNumber, source.stamp);
        _requireLease(word.withClockOf(clock), made);
    }

    function testFuzz_aFreeSlotKeepsItsGeneration(LeaseFields memory fields) external {
        (LeaseWord word, LeaseFields memory made) = _lease(fields);
        LeaseFields memory nothing;
        nothing.generation = made.generation;
        _requireLease(freed(word), nothing);
    }

    function _batch(BatchFields memory fields) private returns (BatchWord, BatchFields memory) {
        fields.grains = uint8(between(fields.grains, 1, 128));
        fields.size = between(fields.size, 1, 64);
        fields.longest = between(fields.longest, 1, 128);
        vm.warp(fields.posted);
        BatchWord word = newBatch(
            fields.task,
            fields.grains,
            uint8(fields.size),
            uint8(fields.longest),
            fields.open,
            fields.keep,
            fields.gated
        );
        return (word, fields);
    }

    function _requireBatch(BatchWord word, BatchFields memory expected) private pure {
        requireEqual("task", word.task(), expected.task);
        requireEqual("grains", word.grains(), expected.grains);
        requireEqual("size", word.size(), expected.size);
        requireEqual("longest", word.longest(), expected.longest);
        requireThat("open", word.isOpenTask() == expected.open);
        requireThat("keep", word.keepsResults() == expected.keep);
        requireThat("gated", word.isGated() == expected.gated);
        requireEqual("free", word.free(), expected.free);
        requireEqual("unsettled", word.unsettled(), expected.unsettled);
        requireEqual("replicasPaid", word.replicasPaid(), expected.replicasPaid);
        requireEqual("posted", word.posted(), expected.posted);
    }

    /// @dev A state byte is a state and the two flags: the rest of it is never set.
    function _lease(LeaseFields memory fields) private returns (LeaseWord word, LeaseFields memory) {
        fields.stateByte &= 0xc7;
        vm.roll(fields.blockNumber);
        word = newLease(fields.stateByte, fields.batch, fields.first, fields.grains, fields.stamp)
            .withGeneration(fields.generation).withGames(fields.games).withPeer(SlotKey.wrap(fields.peer))
            .withDrawn(fields.drawn);
        return (word, fields);
    }

    function _requireLease(LeaseWord word, LeaseFields memory expected) private pure {
        requireThat("state", word.state() == LeaseState(expected.stateByte & 0x0f));
        requireThat("replica", word.isReplica() == (expected.stateByte & 0x80 != 0));
        requireThat("covered", word.feeCovered() == (expected.stateByte & 0x40 != 0));
        requireEqual("batch", word.batch(), expected.batch);
        requireEqual("first", word.first(), expected.first);
        requireEqual("grains", word.grains(), expected.grains);
        requireEqual("block", word.blockNumber(), expected.blockNumber);
        requireEqual("stamp", word.stamp(), expected.stamp);
        requireEqual("games", word.games(), expected.games);
        requireEqual("generation", word.generation(), expected.generation);
        requireEqual("peer", SlotKey.unwrap(word.peer()), expected.peer);
        requireThat("linked", word.isLinked() == (expected.peer != 0));
        requireEqual("drawn", word.drawn(), expected.drawn);
        SlotKey key = SlotKey.wrap(expected.peer);
        requireEqual("id", LeaseId.unwrap(word.id(key)), LeaseId.unwrap(key.withGeneration(expected.generation)));
    }
}
