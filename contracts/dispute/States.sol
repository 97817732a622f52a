// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Game, IDisputeCourt} from "../interfaces/IDisputeCourt.sol";

/// @notice A state's hash is keccak256 of its ABI encoding, as it stands in a call and in the log of `Moved`: so it is
/// taken where it stands, and encoded once a move.
library States {
    /// @dev Bytes of the encoding before the stack's length.
    uint256 private constant HEAD = 38 * 32;

    /// @dev Of a state in calldata. An encoding that is not the one that the compiler makes has another hash: the
    /// stack's offset is among the bytes, and its length, where that offset says it is, tells how many they are.
    function hash(Game calldata game) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let size := add(add(HEAD, 32), shl(7, calldataload(add(game, HEAD))))
            let start := mload(0x40)
            calldatacopy(start, game, size)
            result := keccak256(start, size)
        }
    }

    /// @dev Emits `Moved` with the state. @return result Its hash.
    function announce(bytes32 id, Game memory next, uint40 deadline, bytes memory posted)
        internal
        returns (bytes32 result)
    {
        bytes memory data = abi.encode(next, deadline, posted);
        bytes32 topic = IDisputeCourt.Moved.selector;
        assembly ("memory-safe") {
            let start := add(data, 32)
            let state := mload(start)
            result := keccak256(add(start, state), sub(mload(add(start, 64)), state))
            log2(start, mload(data), topic, id)
        }
    }
}
