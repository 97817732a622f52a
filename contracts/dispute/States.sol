// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Game, IDisputeCourt} from "../interfaces/IDisputeCourt.sol";

/// @notice A state in bytes, as it stands in a call and in the log of `Moved`: its fields without any padding, since
/// calldata and logs are what a move pays most for. Its hash is keccak256 of them. Only what has the right hash is
/// unpacked, so it was packed here and needs no checks.
library States {
    /// @dev In memory a state is these words, then four pointers: to `last`, `tensor`, `value` and the stack;
    /// behind them the first three.
    uint256 private constant PLAIN = 19 * 32;
    uint256 private constant TENSOR = 6 * 32;
    uint256 private constant SIZE = 41 * 32;
    /// @dev And packed these bytes, then those of each posting of the stack.
    uint256 private constant HEAD = 458;
    uint256 private constant POSTING = 42;

    /// @dev The state whose hash was found to be right, twice: as it is, and to be changed. The stack is shared, since
    /// nothing is ever written to it. (A struct that is returned would be filled with zeros first, an array is not.)
    function unpack(bytes calldata state) internal pure returns (Game[] memory states) {
        uint256 place;
        uint256 game;
        assembly ("memory-safe") {
            place := state.offset
            states := mload(0x40)
            game := add(states, 96)
        }
        _readPlain(place, game);
        _readParts(place, game);
        assembly ("memory-safe") {
            let next := add(game, SIZE)
            let stack := add(next, SIZE)
            mcopy(next, game, SIZE)
            _point(game, stack)
            _point(next, stack)
            mstore(states, 2)
            mstore(add(states, 32), game)
            mstore(add(states, 64), next)
            let count := div(sub(state.length, HEAD), POSTING)
            let posting := add(add(stack, 32), shl(5, count))
            mstore(stack, count)
            mstore(0x40, add(posting, shl(7, count)))
            place := add(place, HEAD)
            for {} count { count := sub(count, 1) } {
                stack := add(stack, 32)
                mstore(stack, posting)
                mstore(posting, calldataload(place)) // root
                let word := calldataload(add(place, 32))
                mstore(add(posting, 32), shr(192, word)) // first
                mstore(add(posting, 64), byte(8, word)) // level
                mstore(add(posting, 96), byte(9, word)) // depth
                place := add(place, POSTING)
                posting := add(posting, 128)
            }

            function _point(to, stack_) {
                let part := add(to, add(PLAIN, 128))
                mstore(add(to, PLAIN), part)
                mstore(add(to, add(PLAIN, 32)), add(part, 128))
                mstore(add(to, add(PLAIN, 64)), add(part, add(128, TENSOR)))
                mstore(add(to, add(PLAIN, 96)), stack_)
            }
        }
    }

    /// @dev Emits `Moved` with the state and what was posted, in two parts. @return result The state's hash.
    function announce(bytes32 id, Game memory game, uint40 deadline, bytes calldata posted, bytes calldata rest)
        internal
        returns (bytes32 result)
    {
        bytes32 topic = IDisputeCourt.Moved.selector;
        uint256 start;
        assembly ("memory-safe") {
            // The three arguments' words and the state's length stand before the state.
            start := add(mload(0x40), 128)
        }
        uint256 size = _write(game, start);
        assembly ("memory-safe") {
            let place := start
            result := keccak256(place, size)
            mstore(add(place, size), 0)
            start := sub(place, 128)
            let to := add(place, _padded(size))
            mstore(start, 96)
            mstore(add(start, 32), deadline)
            mstore(add(start, 64), sub(to, start))
            mstore(add(start, 96), size)
            size := add(posted.length, rest.length)
            mstore(to, size)
            to := add(to, 32)
            mstore(add(to, size), 0)
            calldatacopy(to, posted.offset, posted.length)
            calldatacopy(add(to, posted.length), rest.offset, rest.length)
            log2(start, sub(add(to, _padded(size)), start), topic, id)

            function _padded(length) -> whole {
                whole := and(add(length, 31), not(31))
            }
        }
    }

    /// @dev Each field is written over what the one before it left behind its end. @return size The state's bytes.
    function _write(Game memory game, uint256 place) private pure returns (uint256 size) {
        _writePlain(game, place);
        _writeParts(game, place);
        assembly ("memory-safe") {
            let stack := mload(add(game, add(PLAIN, 96)))
            size := HEAD
            for { let count := mload(stack) } count { count := sub(count, 1) } {
                stack := add(stack, 32)
                let posting := mload(stack)
                let to := add(place, size)
                mstore(to, mload(posting)) // root
                mstore(add(to, 32), shl(192, mload(add(posting, 32)))) // first
                mstore8(add(to, 40), mload(add(posting, 64))) // level
                mstore8(add(to, 41), mload(add(posting, 96))) // depth
                size := add(size, POSTING)
            }
        }
    }

    function _readPlain(uint256 place, uint256 game) private pure {
        assembly ("memory-safe") {
            mstore(game, shr(184, calldataload(place))) // lease
            mstore(add(game, 32), shr(240, calldataload(add(place, 9)))) // position
            mstore(add(game, 64), shr(96, calldataload(add(place, 11)))) // challenger
            mstore(add(game, 96), shr(216, calldataload(add(place, 31)))) // opened
            mstore(add(game, 128), shr(232, calldataload(add(place, 36)))) // moveTime
            mstore(add(game, 160), byte(0, calldataload(add(place, 39)))) // phase
            mstore(add(game, 192), byte(0, calldataload(add(place, 40)))) // turn
            mstore(add(game, 224), calldataload(add(place, 41))) // shard
            mstore(add(game, 256), shr(216, calldataload(add(place, 73)))) // steps
            mstore(add(game, 288), shr(216, calldataload(add(place, 78)))) // interval
            mstore(add(game, 320), calldataload(add(place, 83))) // own
            mstore(add(game, 352), calldataload(add(place, 115))) // entry
            mstore(add(game, 384), shr(216, calldataload(add(place, 147)))) // checkpoint
            mstore(add(game, 416), shr(160, calldataload(add(place, 152)))) // costs
            mstore(add(game, 448), calldataload(add(place, 164))) // pred
            mstore(add(game, 480), shr(216, calldataload(add(place, 196)))) // firstStep
            mstore(add(game, 512), shr(216, calldataload(add(place, 201)))) // lastStep
            mstore(add(game, 544), calldataload(add(place, 206))) // program
            mstore(add(game, 576), shl(64, shr(64, calldataload(add(place, 238))))) // header, on the left
        }
    }

    function _readParts(uint256 place, uint256 game) private pure {
        assembly ("memory-safe") {
            let last := add(game, add(PLAIN, 128))
            mstore(last, calldataload(add(place, 262))) // root
            mstore(add(last, 32), shr(192, calldataload(add(place, 294)))) // first
            mstore(add(last, 64), byte(0, calldataload(add(place, 302)))) // level
            mstore(add(last, 96), byte(0, calldataload(add(place, 303)))) // depth
            let tensor := add(last, 128)
            mstore(tensor, shr(216, calldataload(add(place, 304)))) // node
            mstore(add(tensor, 32), byte(0, calldataload(add(place, 309)))) // dtype
            mstore(add(tensor, 64), byte(0, calldataload(add(place, 310)))) // width
            mstore(add(tensor, 96), shr(192, calldataload(add(place, 311)))) // size
            mstore(add(tensor, 128), calldataload(add(place, 319))) // descriptor
            mstore(add(tensor, 160), calldataload(add(place, 351))) // operands
            let value := add(tensor, TENSOR)
            mstore(value, shr(192, calldataload(add(place, 383)))) // leaf
            mstore(add(value, 32), shr(192, calldataload(add(place, 391)))) // element
            mstore(add(value, 64), shr(192, calldataload(add(place, 399)))) // y
            mstore(add(value, 96), shr(192, calldataload(add(place, 407)))) // from
            mstore(add(value, 128), shr(192, calldataload(add(place, 415)))) // to
            mstore(add(value, 160), byte(0, calldataload(add(place, 423)))) // rounds
            mstore(add(value, 192), shr(240, calldataload(add(place, 424)))) // stride
            mstore(add(value, 224), calldataload(add(place, 426))) // posted
        }
    }

    function _writePlain(Game memory game, uint256 place) private pure {
        assembly ("memory-safe") {
            mstore(place, shl(184, mload(game))) // lease
            mstore(add(place, 9), shl(240, mload(add(game, 32)))) // position
            mstore(add(place, 11), shl(96, mload(add(game, 64)))) // challenger
            mstore(add(place, 31), shl(216, mload(add(game, 96)))) // opened
            mstore(add(place, 36), shl(232, mload(add(game, 128)))) // moveTime
            mstore8(add(place, 39), mload(add(game, 160))) // phase
            mstore8(add(place, 40), mload(add(game, 192))) // turn
            mstore(add(place, 41), mload(add(game, 224))) // shard
            mstore(add(place, 73), shl(216, mload(add(game, 256)))) // steps
            mstore(add(place, 78), shl(216, mload(add(game, 288)))) // interval
            mstore(add(place, 83), mload(add(game, 320))) // own
            mstore(add(place, 115), mload(add(game, 352))) // entry
            mstore(add(place, 147), shl(216, mload(add(game, 384)))) // checkpoint
            mstore(add(place, 152), shl(160, mload(add(game, 416)))) // costs
            mstore(add(place, 164), mload(add(game, 448))) // pred
            mstore(add(place, 196), shl(216, mload(add(game, 480)))) // firstStep
            mstore(add(place, 201), shl(216, mload(add(game, 512)))) // lastStep
            mstore(add(place, 206), mload(add(game, 544))) // program
            mstore(add(place, 238), mload(add(game, 576))) // header, on the left
        }
    }

    function _writeParts(Game memory game, uint256 place) private pure {
        assembly ("memory-safe") {
            let last := mload(add(game, PLAIN))
            mstore(add(place, 262), mload(last)) // root
            mstore(add(place, 294), shl(192, mload(add(last, 32)))) // first
            mstore8(add(place, 302), mload(add(last, 64))) // level
            mstore8(add(place, 303), mload(add(last, 96))) // depth
            let tensor := mload(add(game, add(PLAIN, 32)))
            mstore(add(place, 304), shl(216, mload(tensor))) // node
            mstore8(add(place, 309), mload(add(tensor, 32))) // dtype
            mstore8(add(place, 310), mload(add(tensor, 64))) // width
            mstore(add(place, 311), shl(192, mload(add(tensor, 96)))) // size
            mstore(add(place, 319), mload(add(tensor, 128))) // descriptor
            mstore(add(place, 351), mload(add(tensor, 160))) // operands
            let value := mload(add(game, add(PLAIN, 64)))
            mstore(add(place, 383), shl(192, mload(value))) // leaf
            mstore(add(place, 391), shl(192, mload(add(value, 32)))) // element
            mstore(add(place, 399), shl(192, mload(add(value, 64)))) // y
            mstore(add(place, 407), shl(192, mload(add(value, 96)))) // from
            mstore(add(place, 415), shl(192, mload(add(value, 128)))) // to
            mstore8(add(place, 423), mload(add(value, 160))) // rounds
            mstore(add(place, 424), shl(240, mload(add(value, 192)))) // stride
            mstore(add(place, 426), mload(add(value, 224))) // posted
        }
    }
}
