// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IDisputeCourt, Opening} from "../interfaces/IDisputeCourt.sol";
import {BatchInfo, ITaskMarket, LeaseInfo} from "../interfaces/ITaskMarket.sol";
import {CourtStorage} from "./CourtStorage.sol";
import {Merkle} from "./Merkle.sol";
import {Roots} from "./Roots.sol";

/// @notice What the market's roots bind: the shards of a batch, and the results of a lease.
library Leases {
    /// @dev The shard's id, at its place in the batch's plan.
    function requirePlanned(CourtStorage storage s, LeaseInfo memory info, Opening calldata opening)
        internal
        view
        returns (bytes32 shard)
    {
        if (opening.position >= info.shards) revert IDisputeCourt.OutsideCount(opening.position, info.shards);
        shard = Roots.shard(opening.shard);
        BatchInfo memory batch = s.market.batchOf(info.batch);
        uint256 count = uint256(batch.grains) * batch.size;
        bytes32 raw = Merkle.top(shard, uint256(info.firstShard) + opening.position, count, opening.planPath);
        Merkle.requireEqual(Roots.list(Roots.PLAN, count, raw), info.planRoot);
    }

    /// @dev Requires that the lease's root binds a result hash at its place.
    function requireResult(
        CourtStorage storage s,
        LeaseInfo memory info,
        bytes32 result,
        uint256 position,
        bytes32[] calldata path
    ) internal view {
        if (position >= info.shards) revert IDisputeCourt.OutsideCount(position, info.shards);
        Merkle.requireLength(path.length, height(s, info));
        requireRoot(info, Merkle.fold(result, position, path));
    }

    /// @dev A primary's root is finalised, a replica's is the raw node over its block.
    function requireRoot(LeaseInfo memory info, bytes32 raw) internal pure {
        Merkle.requireEqual(info.replica ? raw : Roots.list(Roots.RESULTS, info.shards, raw), info.root);
    }

    /// @dev Levels between the lease's result hashes and its root: for a replica, those of its block, short or not.
    function height(CourtStorage storage s, LeaseInfo memory info) internal view returns (uint256) {
        if (!info.replica) return Merkle.height(info.shards);
        ITaskMarket market = s.market;
        BatchInfo memory batch = market.batchOf(info.batch);
        uint256 most = market.taskOf(batch.task).terms.blockLog2;
        return Math.min(most, Merkle.height(uint256(info.grains) * batch.size));
    }
}
