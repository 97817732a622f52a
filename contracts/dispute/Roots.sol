// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDisputeCourt, Shard} from "../interfaces/IDisputeCourt.sol";
import {ProgramHeader} from "../interfaces/IProgramValidity.sol";

/// @notice Addresses: raw roots under their tag and count (docs/protocol.md, 2).
library Roots {
    uint8 internal constant PLAN = 1;
    uint8 internal constant RESULTS = 2;
    uint8 internal constant CHECKPOINTS = 3;
    uint8 internal constant STATE = 4;
    uint8 internal constant CONSTANTS = 5;
    uint8 internal constant PARAMETERS = 6;
    uint256 private constant MAX_STEPS = 1 << 32;

    function list(uint8 kind, uint256 count, bytes32 raw) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(3), kind, le64(count), raw));
    }

    /// @dev The shard's id. Steps and interval must be some shard's.
    function shard(Shard calldata self) internal pure returns (bytes32) {
        if (self.interval == 0 || self.interval > self.steps || self.steps > MAX_STEPS) {
            revert IDisputeCourt.WrongShard(self.steps, self.interval);
        }
        return sha256(
            abi.encodePacked(
                uint8(5),
                self.program,
                self.constants,
                self.state,
                le64(self.steps),
                le64(self.interval),
                self.parameters
            )
        );
    }

    /// @dev How many checkpoints that many steps have.
    function checkpoints(uint256 steps, uint256 interval) internal pure returns (uint256) {
        return (steps + interval - 1) / interval;
    }

    function result(bytes32 shardId, bytes32 checkpointsRoot) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(6), shardId, checkpointsRoot));
    }

    function program(bytes24 header, bytes32 nodes) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(4), header, nodes));
    }

    /// @dev A node's leaf in the program's tree.
    function node(bytes32 hash, bytes calldata operands) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(0), hash, operands));
    }

    function descriptor(bytes calldata head, bytes32 body) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(sha256(head), body));
    }

    function counts(bytes24 header) internal pure returns (ProgramHeader memory) {
        uint256 word = uint192(header);
        return ProgramHeader({
            version: le32(word >> 160),
            state: le32(word >> 128),
            constants: le32(word >> 96),
            parameters: le32(word >> 64),
            nodes: le32(word >> 32),
            newState: le32(word)
        });
    }

    /// @dev The low 32 bits, bytes reversed.
    function le32(uint256 x) internal pure returns (uint32) {
        return uint32(((x & 0xff) << 24) | ((x & 0xff00) << 8) | ((x >> 8) & 0xff00) | ((x >> 24) & 0xff));
    }

    /// @dev The low 64 bits, bytes reversed.
    function le64(uint256 x) internal pure returns (uint64) {
        return (uint64(le32(x)) << 32) | le32(x >> 32);
    }
}
