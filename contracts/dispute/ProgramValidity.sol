// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IProgramValidity, Place} from "../interfaces/IProgramValidity.sol";
import {Clauses} from "./Clauses.sol";
import {Descriptor, Node} from "./Descriptor.sol";
import {DescriptorRules} from "./DescriptorRules.sol";
import {GraphRules} from "./GraphRules.sol";
import {WellFormed} from "./WellFormed.sol";

/// @title Which programs a node may be asked to defend (IProgramValidity is the manual).
contract ProgramValidity is IProgramValidity {
    /// @inheritdoc IProgramValidity
    function violates(uint8 clause, Place calldata place) external pure returns (bool) {
        if (clause == 0 || clause > Clauses.MALFORMED) revert UnknownClause(clause);
        DescriptorRules.Subject memory subject = _subject(place);
        if (clause == Clauses.MALFORMED) {
            return !WellFormed.isDescriptor(subject.start, subject.end, place.headLength);
        }
        Node memory node = Descriptor.parse(subject.start);
        if (clause <= Clauses.NEW_STATE_TYPE || clause == Clauses.ARITY) return GraphRules.breaks(clause, place, node);
        return DescriptorRules.breaks(clause, node, subject);
    }

    /// @inheritdoc IProgramValidity
    function producerOf(uint8 clause, Place calldata place) external pure returns (bool needed, uint256 node) {
        unchecked {
            if (clause == Clauses.OPERAND_TYPE || clause == Clauses.OPERAND_SIZE) {
                (, node) = GraphRules.operandNumber(place);
                return (true, node);
            }
            // The new state stands in state order, and the state first of all.
            if (clause == Clauses.NEW_STATE_TYPE) return (true, place.node - GraphRules.firstNew(place.header));
        }
    }

    function _subject(Place calldata place) private pure returns (DescriptorRules.Subject memory subject) {
        bytes calldata descriptor = place.descriptor;
        subject.operand = place.operand;
        assembly ("memory-safe") {
            mstore(subject, descriptor.offset)
            mstore(add(subject, 32), add(descriptor.offset, descriptor.length))
        }
    }
}
