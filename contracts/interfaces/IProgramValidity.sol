// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice The counts that a program's root binds.
struct ProgramHeader {
    uint32 version;
    uint32 state;
    uint32 constants;
    uint32 parameters;
    uint32 nodes;
    uint32 newState;
}

/// @notice One place of a program. The caller has shown that header, node and producer are the program's.
struct Place {
    ProgramHeader header;
    /// The node's number, inputs first.
    uint256 node;
    /// The bytes `head || body` of which the node's leaf binds `sha256(sha256(head) || sha256(body))`.
    bytes descriptor;
    /// Bytes of `head`.
    uint256 headLength;
    /// The operand numbers as the leaf holds them: u32 each, little-endian.
    bytes operands;
    /// Which operand is meant, where the clause is about one.
    uint256 operand;
    /// Head of the descriptor of the node that `producerOf` names; empty where none is needed.
    bytes producerHead;
}

/// @title Which programs a node may be asked to defend: one clause, one node, at most one producer.
/// @notice Stateless mirror of node/orebit/program/check.py; clauses have its numbers. What Python cannot even decode
/// breaks MALFORMED (22); of such bytes the other clauses may say anything. Python looks no further where it has found
/// a shape wrong, and at prices only where it has found nothing else; here every clause stands alone.
interface IProgramValidity {
    error UnknownClause(uint8 clause);

    /// @notice Whether the program breaks `clause` at this place. Never true of a valid program; false, not a revert,
    /// where the place does not bear the clause out.
    function violates(uint8 clause, Place calldata place) external pure returns (bool);

    /// @notice The node whose head must stand in `producerHead`, if the clause needs one: the operand's producer for
    /// OPERAND_TYPE and OPERAND_SIZE, the state input that a new-state node replaces for NEW_STATE_TYPE.
    function producerOf(uint8 clause, Place calldata place) external pure returns (bool needed, uint256 node);
}
