// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice What a valid program keeps, with the numbers of orebit/program/check.py.
library Clauses {
    uint256 internal constant HEADER_COUNTS = 1;
    uint256 internal constant INPUT_ORDER = 2;
    uint256 internal constant OPERAND_ORDER = 3;
    uint256 internal constant NEW_STATE_OPERAND = 4;
    uint256 internal constant OPERAND_TYPE = 5;
    uint256 internal constant OPERAND_SIZE = 6;
    uint256 internal constant NEW_STATE_TYPE = 7;
    uint256 internal constant RANK = 8;
    uint256 internal constant DIMENSION = 9;
    uint256 internal constant ELEMENTS = 10;
    uint256 internal constant REDUCTION = 11;
    uint256 internal constant DIVISOR = 12;
    uint256 internal constant AFFINE_BOUNDS = 13;
    uint256 internal constant FILL = 14;
    uint256 internal constant EXPRESSION = 15;
    uint256 internal constant KIND_TYPES = 16;
    uint256 internal constant ARITY = 17;
    uint256 internal constant DESCRIPTOR_BYTES = 18;
    uint256 internal constant PARAMETER_SIZE = 19;
    uint256 internal constant PRICE = 20;
    uint256 internal constant GAME_LENGTH = 21;
    uint256 internal constant MALFORMED = 22;
}
