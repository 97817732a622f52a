// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {BatchWord, run} from "../../contracts/types/BatchWord.sol";
import {SlotKey} from "../../contracts/types/LeaseId.sol";
import {LeaseWord, freed} from "../../contracts/types/LeaseWord.sol";

/// @notice Packed words, for every word there is: a change writes its field and leaves every other bit alone.
contract WordsCheck {
    function check_batch(uint256 bits, uint128 free, uint16 paid, uint8 count) external pure {
        BatchWord word = BatchWord.wrap(bits);
        _assertOnly(bits, BatchWord.unwrap(word.withFree(free)), 56, 128, free);
        _assertOnly(bits, BatchWord.unwrap(word.withReplicasPaid(paid)), 192, 16, paid);
        _assertOnly(bits, BatchWord.unwrap(word.closed()), 208, 40, 0);
        if (count > word.unsettled()) return;
        _assertOnly(bits, BatchWord.unwrap(word.withoutUnsettled(count)), 184, 8, word.unsettled() - count);
    }

    function check_lease(uint256 bits, uint8 state, uint24 games, uint40 peer, uint16 drawn) external pure {
        LeaseWord word = LeaseWord.wrap(bits);
        _assertOnly(bits, LeaseWord.unwrap(word.withState(state)), 0, 8, state);
        _assertOnly(bits, LeaseWord.unwrap(word.withGames(games)), 144, 24, games);
        _assertOnly(bits, LeaseWord.unwrap(word.withPeer(SlotKey.wrap(peer))), 200, 40, peer);
        _assertOnly(bits, LeaseWord.unwrap(word.unlinked()), 200, 40, 0);
        _assertOnly(bits, LeaseWord.unwrap(word.withDrawn(drawn)), 240, 16, drawn);
        assert(LeaseWord.unwrap(freed(word)) == uint256(word.generation()) << 168);
    }

    function check_moves(uint256 bits, uint256 other, uint8 state, uint40 stamp) external view {
        LeaseWord moved = LeaseWord.wrap(bits).withMove(state, stamp);
        uint256 clock = (block.number | (uint256(stamp) << 40)) & type(uint80).max;
        if (block.number > type(uint40).max) return;
        _assertOnly(bits & ~uint256(0xff), LeaseWord.unwrap(moved) & ~uint256(0xff), 64, 80, clock);
        assert(uint8(LeaseWord.unwrap(moved)) == state);
        uint256 taken = LeaseWord.unwrap(LeaseWord.wrap(bits).withClockOf(LeaseWord.wrap(other)));
        _assertOnly(bits, taken, 64, 80, (other >> 64) & type(uint80).max);
    }

    function check_run(uint8 first, uint8 count, uint8 bit) external pure {
        if (count > 128 || first > 127) return;
        bool inside = bit >= first && bit < uint256(first) + count;
        assert(((run(first, count) >> bit) & 1 == 1) == inside);
    }

    function _assertOnly(uint256 before, uint256 changed, uint256 shift, uint256 width, uint256 value) private pure {
        uint256 mask = ((1 << width) - 1) << shift;
        assert(changed & ~mask == before & ~mask);
        assert((changed & mask) >> shift == value);
    }
}
