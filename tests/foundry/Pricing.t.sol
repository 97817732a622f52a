// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../../contracts/interfaces/ITaskMarket.sol";
import {Pricing} from "../../contracts/lib/Pricing.sol";
import {BatchWord, newBatch} from "../../contracts/types/BatchWord.sol";
import {LeaseWord, REPLICA, newLease} from "../../contracts/types/LeaseWord.sol";
import {TermsWord, packTerms} from "../../contracts/types/TermsWord.sol";
import {between, requireAtMost, requireEqual} from "./Assertions.sol";

/// @notice Prices, over every term that a market accepts, against plain checked arithmetic: nothing overflows, and what
/// rounding leaves over is nobody's gain who could choose the amounts.
contract PricingTest {
    struct Shape {
        uint8 grains;
        uint8 size;
        uint8 longest;
    }

    function testFuzz_ceilLog2IsTheLeastPower(uint256 seed) external pure {
        uint256 n = between(seed, 1, 1 << 13);
        uint256 log2 = Pricing.ceilLog2(n);
        requireAtMost("n", n, 1 << log2);
        if (log2 != 0) requireAtMost("half", (1 << (log2 - 1)) + 1, n);
    }

    /// @dev The replica's fee is what its percentage gives, rounded down: the requester pays it, the node gains it.
    function testFuzz_feeRoundsDown(Terms memory terms, Shape memory shape) external view {
        (TermsWord word, BatchWord batch) = _accepted(terms, shape);
        uint256 fee = Pricing.fee(word, batch);
        uint256 longest = uint256(shape.longest) * shape.size;
        uint256 block_ = 1 << Pricing.blockLog2(word, longest);
        uint256 exact = uint256(terms.price) * terms.feePercent * block_;
        requireAtMost("fee", fee * 100, exact);
        requireAtMost("lost by rounding", exact, fee * 100 + 99);
    }

    /// @dev A lease's stake covers its factor but for less than one wei, and an owed fee four times over.
    function testFuzz_stakeCovers(Terms memory terms, Shape memory shape, uint256 seed) external view {
        (TermsWord word, BatchWord batch) = _accepted(terms, shape);
        uint256 shards = between(seed, 1, shape.longest) * shape.size;
        uint256 stake = Pricing.stake(word, batch, shards);
        uint256 exact = uint256(terms.stakeFactor) * terms.price * shards;
        uint256 fee = Pricing.fee(word, batch);
        requireAtMost("factor", exact, stake * 100 + 99);
        requireAtMost("fees", 4 * fee, stake);
        if (stake != 4 * fee) requireAtMost("stake", stake * 100, exact);
    }

    /// @dev Whoever splits a lease saves less than a wei of stake a part.
    function testFuzz_splittingSavesNoStake(Terms memory terms, Shape memory shape, uint256 seed) external view {
        (TermsWord word, BatchWord batch) = _accepted(terms, shape);
        uint256 whole = between(seed, 1, shape.longest);
        uint256 part = between(seed >> 128, 1, whole);
        uint256 parts = Pricing.stake(word, batch, part * shape.size);
        if (part != whole) parts += Pricing.stake(word, batch, (whole - part) * shape.size);
        requireAtMost("whole", Pricing.stake(word, batch, whole * shape.size), parts + 1);
    }

    /// @dev Of a conviction's stake at least half burns, also where a fee returns to the reserve.
    function testFuzz_halfOfEverySlashBurns(Terms memory terms, Shape memory shape, uint256 seed) external view {
        (TermsWord word, BatchWord batch) = _accepted(terms, shape);
        uint8 grains = uint8(between(seed, 1, shape.longest));
        uint256 stake = Pricing.stakeOf(word, batch, newLease(0, 1, 0, grains, 0));
        requireAtMost("paid", 2 * (stake / 4 + Pricing.fee(word, batch)), stake);
        uint256 penalty = (stake * terms.lateBp) / 10_000;
        requireAtMost("requester's part of a penalty", 2 * (penalty / 2), penalty);
        requireAtMost("penalty", penalty, stake / 5);
    }

    /// @dev What posting reserves pays for every lease and its replica, however the grains are leased.
    function testFuzz_reserveCoversEveryPartition(Terms memory terms, Shape memory shape, uint256 seed) external view {
        (TermsWord word, BatchWord batch) = _accepted(terms, shape);
        uint256 reserve = shape.grains * (shape.size * word.price() + Pricing.fee(word, batch));
        uint256 spent;
        for (uint256 left = shape.grains; left != 0; seed = uint256(keccak256(abi.encode(seed)))) {
            uint256 grains = between(seed, 1, left < shape.longest ? left : shape.longest);
            left -= grains;
            LeaseWord lease = newLease(0, 1, 0, uint8(grains), 0);
            spent += Pricing.shardsOf(batch, lease) * word.price() + Pricing.fee(word, batch);
        }
        requireAtMost("spent", spent, reserve);
    }

    /// @dev A replica stakes for its block, which is never more than twice the lease less a shard.
    function testFuzz_replicaStakesForItsBlock(Terms memory terms, Shape memory shape, uint256 seed) external view {
        (TermsWord word, BatchWord batch) = _accepted(terms, shape);
        uint8 grains = uint8(between(seed, 1, shape.longest));
        uint256 shards = uint256(grains) * shape.size;
        uint256 block_ = 1 << Pricing.blockLog2(word, shards);
        uint256 given = Pricing.stakeOf(word, batch, newLease(REPLICA, 1, 0, grains, 0));
        requireAtMost("block", block_, 2 * shards - 1);
        requireEqual("stake", given, Pricing.stake(word, batch, block_));
    }

    function _accepted(Terms memory terms, Shape memory shape) private view returns (TermsWord, BatchWord) {
        terms.price = uint96(between(terms.price, 1, type(uint96).max));
        terms.stakeFactor = uint16(between(terms.stakeFactor, 1, type(uint16).max));
        terms.lateBp = uint16(between(terms.lateBp, 100, 2000));
        if (terms.blockLog2 != 255) terms.blockLog2 = uint8(between(terms.blockLog2, 0, 13));
        shape.grains = uint8(between(shape.grains, 1, 128));
        shape.size = uint8(between(shape.size, 1, 64));
        shape.longest = uint8(between(shape.longest, 1, shape.grains));
        return
            (packTerms(terms), newBatch(1, shape.grains, shape.size, shape.longest, false, false, false));
    }
}
