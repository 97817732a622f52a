// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Place, ProgramHeader} from "../interfaces/IProgramValidity.sol";
import {Clauses} from "./Clauses.sol";
import {Descriptor, Node} from "./Descriptor.sol";
import {Kinds} from "./Kinds.sol";
import {Varint} from "./Varint.sol";

/// @notice Clauses about a node's place in its program: the header, the order of nodes, and what an operand reads.
library GraphRules {
    uint256 private constant VERSION = 1;

    function breaks(uint256 clause, Place calldata place, Node memory node) internal pure returns (bool) {
        if (clause == Clauses.HEADER_COUNTS) return _headerCounts(place.header);
        if (clause == Clauses.INPUT_ORDER) return _inputOrder(place, node);
        if (clause == Clauses.NEW_STATE_TYPE) return _newStateType(place);
        if (clause == Clauses.ARITY) return place.operands.length != 4 * node.operands;
        (bool found, uint256 read) = operandNumber(place);
        if (!found || place.operand >= node.operands) return false;
        if (clause == Clauses.OPERAND_ORDER) return read >= place.node;
        if (clause == Clauses.NEW_STATE_OPERAND) return read < place.node && read >= firstNew(place.header);
        return _edge(clause, place, node);
    }

    /// @dev Number of the first new-state node; of a header with HEADER_COUNTS against it, some number.
    function firstNew(ProgramHeader calldata header) internal pure returns (uint256) {
        unchecked {
            return _inputs(header) + header.nodes - header.newState;
        }
    }

    /// @dev The number that the operand in question has, if the node has that many.
    function operandNumber(Place calldata place) internal pure returns (bool found, uint256 number) {
        unchecked {
            uint256 index = place.operand;
            if (index >= place.operands.length / 4) return (false, 0);
            for (uint256 i = 4; i != 0; --i) {
                number = (number << 8) | uint8(place.operands[4 * index + i - 1]);
            }
            return (true, number);
        }
    }

    function _headerCounts(ProgramHeader calldata header) private pure returns (bool) {
        return header.version != VERSION || header.newState == 0 || header.newState != header.state
            || header.newState > header.nodes;
    }

    /// @dev Inputs come first, each the next of its source, and only they are inputs.
    function _inputOrder(Place calldata place, Node memory node) private pure returns (bool) {
        unchecked {
            if (place.node >= _inputs(place.header)) return node.kind == Kinds.INPUT;
            if (node.kind != Kinds.INPUT) return true;
            uint256 index = place.node;
            uint256 source;
            if (index >= place.header.state) (index, source) = (index - place.header.state, 1);
            if (source == 1 && index >= place.header.constants) (index, source) = (index - place.header.constants, 2);
            (uint256 given,) = Varint.unsigned(node.first + 1);
            return Descriptor.byteAt(node.first) != source || given != index;
        }
    }

    /// @dev Heads but for the kind are equal exactly when types and dimensions are.
    function _newStateType(Place calldata place) private pure returns (bool) {
        if (place.node < firstNew(place.header) || place.producerHead.length == 0) return false;
        if (place.headLength == 0 || place.headLength > place.descriptor.length) return false;
        return keccak256(place.descriptor[1:place.headLength]) != keccak256(place.producerHead[1:]);
    }

    function _edge(uint256 clause, Place calldata place, Node memory node) private pure returns (bool) {
        unchecked {
            bytes calldata head = place.producerHead;
            if (head.length <= Descriptor.CODES) return false;
            uint256 operand = Descriptor.operand(node, place.operand);
            if (clause == Clauses.OPERAND_TYPE) return uint8(head[1]) != Descriptor.byteAt(operand);
            uint256 start;
            assembly ("memory-safe") {
                start := head.offset
            }
            (, uint256 made,) = Descriptor.dimensions(start + Descriptor.CODES, node.space);
            (, uint256 viewed,) = Descriptor.dimensions(operand + 1, node.space);
            return made != viewed;
        }
    }

    function _inputs(ProgramHeader calldata header) private pure returns (uint256) {
        unchecked {
            return uint256(header.state) + header.constants + header.parameters;
        }
    }
}
