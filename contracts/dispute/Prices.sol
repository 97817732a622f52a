// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Descriptor, Node} from "./Descriptor.sol";
import {Kinds} from "./Kinds.sol";
import {Op} from "./Op.sol";
import {Types} from "./Types.sol";
import {Varint} from "./Varint.sol";

/// @notice What it costs to justify one element: the mirror of orebit/program/price.py, figure by figure.
library Prices {
    uint256 internal constant MOVE_LIMIT = 290_000;
    uint256 internal constant READS_BYTES = 2048;
    uint256 internal constant PARTIALS = 256;
    uint256 internal constant PARTIAL_ROUNDS = 2;

    uint256 private constant TRANSACTION = 21_000;
    uint256 private constant BOOKS = 40_000;
    uint256 private constant ZERO_BYTE = 10;
    uint256 private constant OTHER_BYTE = 40;
    /// @dev The calls that hash and evaluate the descriptor.
    uint256 private constant CALLS = 12_000;
    /// @dev For each byte of the descriptor, axis of the space, operand.
    uint256 private constant BYTE = 8;
    uint256 private constant AXIS = 200;
    uint256 private constant OPERAND = 700;
    uint256 private constant OPERAND_NUMBER = 4;
    /// @dev To load one value, by its type, a byte each, in tens.
    uint256 private constant LOADS = 0x100b0a0a09090b;
    /// @dev What one position takes beside that, by kind, likewise; and of a dot of two operands of one byte, of two.
    uint256 private constant POSITIONS = 0x261200210a100000;
    uint256 private constant BYTES_POSITION = 60;
    uint256 private constant PAIRS_POSITION = 110;
    /// @dev Operations, likewise, 32 a word from the first on; for each byte that an instruction takes beyond its
    /// shortest form.
    bytes32 private constant OPERATIONS_00 =
        0x00171e191600000000000000000000006363606b542c2c34343434343c38472a;
    bytes32 private constant OPERATIONS_20 =
        0x2f0000000000000000000000000000002224243032282623272a2526282a2a2d;
    bytes32 private constant OPERATIONS_40 =
        0x2d2c2c000000000000000000000000002d000000000000000000000000000000;
    uint256 private constant LONG = 125;

    /// @dev Gas of the whole move that justifies one position: all of it for a map or gather.
    function justifyGas(Node memory node, uint256 start, uint256 end) internal pure returns (uint256 gas_) {
        unchecked {
            (uint256 fixed_, uint256 position,, uint256 place) = _parts(node, start, end);
            gas_ = fixed_ + position;
            if (node.kind == Kinds.MAP) gas_ += _expressionGas(place, end);
        }
    }

    /// @dev How many positions of a reduction one move can justify, at most; a map or gather has one.
    function positionsPerMove(Node memory node, uint256 start, uint256 end) internal pure returns (uint256 positions) {
        unchecked {
            if (!Kinds.reduces(node.kind)) return 1;
            (uint256 fixed_, uint256 position, uint256 stride,) = _parts(node, start, end);
            if (fixed_ < MOVE_LIMIT) positions = (MOVE_LIMIT - fixed_) / position;
            if (positions > READS_BYTES / stride) positions = READS_BYTES / stride;
        }
    }

    /// @dev How many times partial results are posted before the reads fit one move.
    function partialRounds(Node memory node, uint256 start, uint256 end) internal pure returns (uint256 rounds) {
        unchecked {
            uint256 fitting = positionsPerMove(node, start, end);
            if (fitting == 0) fitting = 1;
            for (uint256 length = node.length; length > fitting; ++rounds) {
                length = (length + PARTIALS - 1) / PARTIALS;
            }
        }
    }

    /// @dev What does not depend on positions, one position without a map's expression, the bytes of its reads, and the
    /// place behind the operands.
    function _parts(Node memory node, uint256 start, uint256 end)
        private
        pure
        returns (uint256 fixed_, uint256 position, uint256 stride, uint256 place)
    {
        unchecked {
            uint256 length = end - start;
            fixed_ = TRANSACTION + BOOKS + CALLS + (OTHER_BYTE + BYTE) * length + AXIS * node.axes
                + (OPERAND + OPERAND_NUMBER * OTHER_BYTE) * node.operands
                - (OTHER_BYTE - ZERO_BYTE) * Varint.zeroBytes(start, end);
            position = _tens(POSITIONS, node.kind);
            place = node.first;
            uint256 width;
            for (uint256 operand; operand < node.operands; ++operand) {
                uint256 dtype = Descriptor.byteAt(place);
                width = Types.width(dtype);
                stride += width;
                position += _tens(LOADS, dtype);
                place = Descriptor.skipOperand(node, place, node.kind == Kinds.GATHER ? operand : 0);
            }
            if (node.kind == Kinds.DOT) {
                if (stride == 2) position = BYTES_POSITION;
                else if (stride == 4 && width == 2) position = PAIRS_POSITION;
            }
            position += OTHER_BYTE * stride;
        }
    }

    /// @dev Gas of an expression, or of so much of it that nothing can pay it.
    function _expressionGas(uint256 place, uint256 end) private pure returns (uint256 gas_) {
        unchecked {
            while (place < end && gas_ <= MOVE_LIMIT) {
                uint256 op = Descriptor.byteAt(place);
                gas_ += _operation(op);
                if ((Op.TWO >> op) & 1 != 0 && Descriptor.bytesAt(place, 3) & 0x8080 == 0) {
                    place += 3;
                    continue;
                }
                uint256 integers = _integers(op);
                if (integers == 0) {
                    place += op == Op.CONST_F32 ? 5 : op == Op.INDEX ? 2 : 1;
                } else {
                    uint256 next = Varint.skip(place + 1, integers);
                    gas_ += LONG * (next - place - 1 - integers);
                    place = next;
                }
            }
        }
    }

    function _operation(uint256 op) private pure returns (uint256 gas_) {
        bytes32 table = OPERATIONS_40;
        if (op < 0x40) table = OPERATIONS_20;
        if (op < 0x20) table = OPERATIONS_00;
        assembly ("memory-safe") {
            gas_ := mul(10, byte(and(op, 0x1f), table))
        }
    }

    /// @dev How many integers an instruction of this operation holds: a constant, or numbers of values.
    function _integers(uint256 op) private pure returns (uint256) {
        if ((Op.TWO >> op) & 1 != 0) return 2;
        if (op == Op.SELECT) return 3;
        return (Op.ONE >> op) & 1 != 0 || op == Op.CONST_I64 ? 1 : 0;
    }

    function _tens(uint256 table, uint256 index) private pure returns (uint256) {
        unchecked {
            return ((table >> (8 * index)) & 0xff) * 10;
        }
    }
}
