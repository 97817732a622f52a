// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {INodeEvaluator, Output, Read} from "../interfaces/INodeEvaluator.sol";
import {Descriptor, Node} from "./Descriptor.sol";
import {Expression} from "./Expression.sol";
import {IndexMap} from "./IndexMap.sol";
import {Kinds} from "./Kinds.sol";
import {Prices} from "./Prices.sol";
import {Reads} from "./Reads.sol";
import {Reductions} from "./Reductions.sol";
import {Types} from "./Types.sol";
import {Varint} from "./Varint.sol";

/// @title The arithmetic of the court: one element of one node (INodeEvaluator is the manual).
contract NodeEvaluator is INodeEvaluator {
    uint256 private constant MASK64 = type(uint64).max;

    /* WHAT A NODE IS */

    /// @inheritdoc INodeEvaluator
    function hashOf(bytes calldata descriptor) external pure returns (bytes32) {
        uint256 length = _headLength(descriptor);
        bytes32 head = sha256(descriptor[:length]);
        return sha256(abi.encodePacked(head, sha256(descriptor[length:])));
    }

    /// @inheritdoc INodeEvaluator
    function outputOf(bytes calldata head) external pure returns (Output memory output) {
        unchecked {
            bytes calldata dimensions = head[Descriptor.CODES + 1:_headLength(head)];
            uint256 place = _start(dimensions);
            if (!Varint.canonical(place, place + dimensions.length)) revert MalformedHead();
            output.kind = uint8(head[0]);
            output.dtype = uint8(head[1]);
            if (output.kind >= Kinds.COUNT || output.dtype >= Types.COUNT) revert MalformedHead();
            output.width = uint8(Types.width(output.dtype));
            output.elements = 1;
            output.prefix = abi.encodePacked(bytes1(0x02), head[1:3]);
            for (uint256 axis = uint8(head[2]); axis != 0; --axis) {
                uint256 extent;
                (extent, place) = Varint.unsigned(place);
                output.elements *= extent;
                if (extent == 0 || extent > Descriptor.MAX_ELEMENTS || output.elements > Descriptor.MAX_ELEMENTS) {
                    revert MalformedHead();
                }
                output.prefix = abi.encodePacked(output.prefix, _littleEndian(extent));
            }
        }
    }

    /// @inheritdoc INodeEvaluator
    function positionsOf(bytes calldata descriptor) external pure returns (uint256 length, uint256 perMove) {
        unchecked {
            Node memory node = _parse(descriptor);
            uint256 start = _start(descriptor);
            return (node.length, Prices.positionsPerMove(node, start, start + descriptor.length));
        }
    }

    /* EVALUATION */

    /// @inheritdoc INodeEvaluator
    function evaluate(bytes calldata descriptor, uint256 element, uint256 from, uint256 to, bytes calldata reads)
        external
        pure
        returns (uint256 y)
    {
        unchecked {
            Node memory node = _parse(descriptor);
            _requireRange(node, element, from, to);
            if (node.kind == Kinds.MAP) y = _map(node, descriptor, element, reads);
            else if (node.kind == Kinds.GATHER) y = _gather(node, reads);
            else y = _reduce(node, element, to - from, reads);
            return _asResult(node, from, to, y);
        }
    }

    /// @inheritdoc INodeEvaluator
    function combine(bytes calldata descriptor, uint256 from, uint256 to, bytes calldata partials)
        external
        pure
        returns (uint256 y)
    {
        unchecked {
            Node memory node = _parse(descriptor);
            _requireRange(node, 0, from, to);
            uint256 count = to - from < Prices.PARTIALS ? to - from : Prices.PARTIALS;
            _requireLength(partials, 8 * count);
            uint256 place = _start(partials);
            uint256 end = place + partials.length;
            if (Kinds.sums(node.kind)) y = Reductions.sum(place, end, Types.I64);
            else y = Reductions.max(place, end, node.dtype == Types.F32 ? Types.F32 : Types.I64, 8);
            return _asResult(node, from, to, y);
        }
    }

    /// @dev An element's bytes where the range is all of the reduction, a partial result where it is a part.
    function _asResult(Node memory node, uint256 from, uint256 to, uint256 y) private pure returns (uint256) {
        return y & (from == 0 && to == node.length ? Types.mask(node.dtype) : MASK64);
    }

    function _map(Node memory node, bytes calldata descriptor, uint256 element, bytes calldata reads)
        private
        pure
        returns (uint256)
    {
        unchecked {
            Expression.Scope memory scope;
            scope.flat = element;
            scope.point = _allocate(32 * node.rank);
            _unravel(element, node.rank, node.space, scope.point);
            uint256 text = _allocate(descriptor.length + 32);
            _copy(descriptor, text);
            // However many values there are, nothing is allocated behind them.
            scope.values = _allocate(0);
            scope.operands = node.operands;
            uint256 place = node.first;
            uint256 read = _start(reads);
            for (uint256 operand; operand < node.operands; ++operand) {
                uint256 dtype = Descriptor.byteAt(place);
                uint256 value = Reads.load(read, dtype);
                _store(scope.values + 32 * operand, value);
                read += Types.width(dtype);
                place = Descriptor.skipOperand(node, place, 0);
            }
            _requireLength(reads, read - _start(reads));
            return Expression.evaluate(text + place - _start(descriptor), scope);
        }
    }

    function _gather(Node memory node, bytes calldata reads) private pure returns (uint256) {
        unchecked {
            uint256 width = Types.width(Descriptor.byteAt(node.first));
            uint256 dtype = Descriptor.byteAt(Descriptor.skipOperand(node, node.first, 0));
            _requireLength(reads, width + Types.width(dtype));
            return Reads.load(_start(reads) + width, dtype);
        }
    }

    function _reduce(Node memory node, uint256 element, uint256 positions, bytes calldata reads)
        private
        pure
        returns (uint256)
    {
        unchecked {
            uint256 first = Descriptor.byteAt(node.first);
            uint256 stride = Types.width(first);
            uint256 place = _start(reads);
            uint256 end = place + reads.length;
            if (node.operands == 1) {
                _requireReads(reads, positions * stride);
                if (node.kind == Kinds.SUM) return Reductions.sum(place, end, first);
                return Reductions.max(place, end, first, stride);
            }
            uint256 behind = Descriptor.skipOperand(node, node.first, 0);
            uint256 second = Descriptor.byteAt(behind);
            _requireReads(reads, positions * (stride + Types.width(second)));
            if (node.kind == Kinds.DOT) return Reductions.dot(place, end, first, second);
            uint256 row = element / (node.elements / _load(node.space));
            if (node.kind == Kinds.SCATTER_SUM) return Reductions.scatterSum(place, end, first, second, row);
            uint256 fill = Descriptor.fill(Descriptor.skipMap(node, behind, 0, 0), second);
            return Reductions.scatterMax(place, end, first, second, row, fill);
        }
    }

    /* WHERE READS COME FROM */

    /// @inheritdoc INodeEvaluator
    function readOf(
        bytes calldata descriptor,
        uint256 element,
        uint256 from,
        uint256 to,
        bytes calldata reads,
        uint256 operand,
        uint256 position
    ) external pure returns (Read memory read) {
        unchecked {
            Node memory node = _parse(descriptor);
            _requireRange(node, element, from, to);
            if (operand >= node.operands || position < from || position >= to) revert OutOfRange();
            IndexMap.Lookup memory lookup;
            (uint256 place, uint256 stride) = _find(node, operand, lookup);
            _requireLength(reads, (to - from) * stride);
            place += _start(reads) + (position - from) * stride;
            lookup.point = _allocate(32 * node.axes);
            _unravel(element, node.rank, node.space, lookup.point);
            _unravel(position, node.axes - node.rank, node.space + 32 * node.rank, lookup.point + 32 * node.rank);
            if (node.kind == Kinds.GATHER && operand == 1) {
                lookup.gathered = true;
                lookup.row = int256(Reads.load(_start(reads), Descriptor.byteAt(node.first)));
            }
            uint256 dtype = Descriptor.byteAt(lookup.operand);
            read.dtype = uint8(dtype);
            read.width = uint8(Types.width(dtype));
            read.posted = Reads.raw(place, read.width);
            uint256 fillAt;
            (read.inside, read.source, read.elements, fillAt) = IndexMap.locate(node, lookup);
            read.fill = Descriptor.fill(fillAt, dtype) & Types.mask(dtype);
        }
    }

    /// @dev Where the operand stands in the descriptor; its value among a position's reads, and their bytes.
    function _find(Node memory node, uint256 wanted, IndexMap.Lookup memory lookup)
        private
        pure
        returns (uint256 offset, uint256 stride)
    {
        unchecked {
            uint256 place = node.first;
            for (uint256 operand; operand < node.operands; ++operand) {
                if (operand == wanted) (lookup.operand, offset) = (place, stride);
                stride += Types.width(Descriptor.byteAt(place));
                place = Descriptor.skipOperand(node, place, node.kind == Kinds.GATHER && operand == 1 ? 1 : 0);
            }
        }
    }

    /* PARTS */

    function _parse(bytes calldata descriptor) private pure returns (Node memory node) {
        node = Descriptor.parse(_start(descriptor));
        if (node.kind == Kinds.INPUT || node.kind >= Kinds.COUNT) revert NotComputed(uint8(node.kind));
    }

    function _headLength(bytes calldata descriptor) private pure returns (uint256 length) {
        unchecked {
            if (descriptor.length <= Descriptor.CODES) revert MalformedHead();
            uint256 rank = uint8(descriptor[Descriptor.CODES]);
            if (rank > Descriptor.MAX_RANK) revert MalformedHead();
            uint256 start = _start(descriptor);
            length = Varint.skip(start + Descriptor.CODES + 1, rank) - start;
            if (length > descriptor.length) revert MalformedHead();
        }
    }

    function _requireRange(Node memory node, uint256 element, uint256 from, uint256 to) private pure {
        if (element >= node.elements || from >= to || to > node.length) revert OutOfRange();
    }

    function _requireReads(bytes calldata reads, uint256 length) private pure {
        if (reads.length != length || length > Prices.READS_BYTES) revert WrongLength(reads.length, length);
    }

    function _requireLength(bytes calldata data, uint256 length) private pure {
        if (data.length != length) revert WrongLength(data.length, length);
    }

    /// @dev Coordinates of a row-major number, written to memory a word each.
    function _unravel(uint256 flat, uint256 rank, uint256 extents, uint256 to) private pure {
        assembly ("memory-safe") {
            for { let offset := shl(5, rank) } offset {} {
                offset := sub(offset, 32)
                let extent := mload(add(extents, offset))
                mstore(add(to, offset), mod(flat, extent))
                flat := div(flat, extent)
            }
        }
    }

    function _littleEndian(uint256 value) private pure returns (bytes8) {
        unchecked {
            uint256 reversed;
            for (uint256 i; i < 8; ++i) {
                reversed = (reversed << 8) | ((value >> (8 * i)) & 0xff);
            }
            return bytes8(uint64(reversed));
        }
    }

    function _start(bytes calldata data) private pure returns (uint256 place) {
        assembly ("memory-safe") {
            place := data.offset
        }
    }

    /// @dev Memory that is not cleared.
    function _allocate(uint256 size) private pure returns (uint256 place) {
        assembly ("memory-safe") {
            place := mload(0x40)
            mstore(0x40, add(place, size))
        }
    }

    /// @dev Copies bytes to memory, a zero word behind them.
    function _copy(bytes calldata data, uint256 to) private pure {
        assembly ("memory-safe") {
            calldatacopy(to, data.offset, data.length)
            mstore(add(to, data.length), 0)
        }
    }

    function _store(uint256 place, uint256 word) private pure {
        assembly ("memory-safe") {
            mstore(place, word)
        }
    }

    function _load(uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(place)
        }
    }
}
