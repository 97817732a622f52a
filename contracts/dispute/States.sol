// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Game, IDisputeCourt} from "../interfaces/IDisputeCourt.sol";

/// @notice A state's hash is keccak256 of its ABI encoding, as it stands in a call and in the log of `Moved`: so it is
/// taken where it stands, and encoded once a move. What has the right hash was encoded here, so it is copied as it is,
/// which spares the compiler's checks of each field.
library States {
    /// @dev Bytes of the encoding: its fields before `last`, then `last`, the stack's offset, `tensor` and `value`;
    /// behind these the stack's length and its postings. In memory each of these four is a pointer instead.
    uint256 private constant PLAIN = 19 * 32;
    uint256 private constant POSTING = 4 * 32;
    uint256 private constant TENSOR = 6 * 32;
    uint256 private constant VALUE = 8 * 32;
    uint256 private constant HEAD = 38 * 32;

    /// @dev Of a state in calldata. An encoding that is not the one that is made here has another hash: the stack's
    /// offset is among the bytes, and its length, where that offset says it is, tells how many they are.
    function hash(Game calldata game) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let size := add(add(HEAD, 32), shl(7, calldataload(add(game, HEAD))))
            let start := mload(0x40)
            calldatacopy(start, game, size)
            result := keccak256(start, size)
        }
    }

    /// @dev Copies a state of which the hash was found to be right.
    function load(Game calldata game) internal pure returns (Game memory next) {
        assembly ("memory-safe") {
            next := mload(0x40)
            let pointers := add(next, PLAIN)
            let last := add(pointers, 128)
            let tensor := add(last, POSTING)
            let stack := add(tensor, add(TENSOR, VALUE))
            calldatacopy(next, game, PLAIN)
            calldatacopy(last, add(game, PLAIN), POSTING)
            calldatacopy(tensor, add(game, add(PLAIN, add(POSTING, 32))), add(TENSOR, VALUE))
            mstore(pointers, last)
            mstore(add(pointers, 32), stack)
            mstore(add(pointers, 64), tensor)
            mstore(add(pointers, 96), add(tensor, TENSOR))
            let count := calldataload(add(game, HEAD))
            mstore(stack, count)
            let posting := add(add(stack, 32), shl(5, count))
            mstore(0x40, add(posting, shl(7, count)))
            calldatacopy(posting, add(game, add(HEAD, 32)), shl(7, count))
            for {} count { count := sub(count, 1) } {
                stack := add(stack, 32)
                mstore(stack, posting)
                posting := add(posting, POSTING)
            }
        }
    }

    /// @dev Emits `Moved` with the state and what was posted, in two parts. @return result The state's hash.
    function announce(bytes32 id, Game memory next, uint40 deadline, bytes calldata posted, bytes calldata rest)
        internal
        returns (bytes32 result)
    {
        bytes32 topic = IDisputeCourt.Moved.selector;
        assembly ("memory-safe") {
            let start := mload(0x40)
            let state := add(start, 96)
            let pointers := add(next, PLAIN)
            mcopy(state, next, PLAIN)
            mcopy(add(state, PLAIN), mload(pointers), POSTING)
            mstore(add(state, add(PLAIN, POSTING)), HEAD)
            mcopy(add(state, add(PLAIN, add(POSTING, 32))), mload(add(pointers, 64)), TENSOR)
            mcopy(add(state, sub(HEAD, VALUE)), mload(add(pointers, 96)), VALUE)
            let stack := mload(add(pointers, 32))
            let count := mload(stack)
            let to := add(state, HEAD)
            mstore(to, count)
            to := add(to, 32)
            for {} count { count := sub(count, 1) } {
                stack := add(stack, 32)
                mcopy(to, mload(stack), POSTING)
                to := add(to, POSTING)
            }
            result := keccak256(state, sub(to, state))
            mstore(start, 96)
            mstore(add(start, 32), deadline)
            mstore(add(start, 64), sub(to, start))
            let size := add(posted.length, rest.length)
            mstore(to, size)
            to := add(to, 32)
            mstore(add(to, size), 0)
            calldatacopy(to, posted.offset, posted.length)
            calldatacopy(add(to, posted.length), rest.offset, rest.length)
            log2(start, sub(add(to, and(add(size, 31), not(31))), start), topic, id)
        }
    }
}
