// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Shard} from "../../contracts/interfaces/IDisputeCourt.sol";
import {PaddedTree} from "./PaddedTree.sol";

/// @notice Shards of four steps and two checkpoints, of which the last is false if somebody lies; and a program that
/// nobody can defend, since its new state is not its state.
library CourtWorld {
    uint8 private constant PLAN = 1;
    uint8 private constant CHECKPOINTS = 3;
    uint64 private constant STEPS = 4;
    uint64 private constant INTERVAL = 2;
    /// @dev One node, which is the new state; little-endian counts.
    bytes24 internal constant HEADER = bytes24(uint192((1 << 56) | (1 << 24)));
    bytes32 internal constant NODES = keccak256("the only node");

    function shard(uint256 index) internal pure returns (Shard memory) {
        return Shard({
            program: sha256(abi.encodePacked(uint8(4), HEADER, NODES)),
            constants: keccak256("constants"),
            state: keccak256(abi.encode("initial state", index)),
            steps: uint40(STEPS),
            interval: uint40(INTERVAL),
            parameters: keccak256("parameters")
        });
    }

    function shardId(uint256 index) internal pure returns (bytes32) {
        Shard memory self = shard(index);
        return sha256(
            abi.encodePacked(
                uint8(5),
                self.program,
                self.constants,
                self.state,
                STEPS << 56,
                INTERVAL << 56,
                self.parameters
            )
        );
    }

    function plan(uint256 count) internal pure returns (bytes32[] memory ids) {
        ids = new bytes32[](count);
        for (uint256 i; i < count; ++i) ids[i] = shardId(i);
    }

    function planRoot(uint256 count) internal pure returns (bytes32) {
        return PaddedTree.finalised(PLAN, count, PaddedTree.root(plan(count)));
    }

    /// @dev State roots after two and four steps. @param version 0 is the truth.
    function checkpoints(uint256 index, uint256 version) internal pure returns (bytes32[] memory roots) {
        roots = new bytes32[](2);
        roots[0] = keccak256(abi.encode("state", index));
        roots[1] = keccak256(abi.encode("last state", index, version));
    }

    function checkpointsRoot(uint256 index, uint256 version) internal pure returns (bytes32) {
        return PaddedTree.finalised(CHECKPOINTS, 2, PaddedTree.root(checkpoints(index, version)));
    }

    function result(uint256 index, uint256 version) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(6), shardId(index), checkpointsRoot(index, version)));
    }
}
