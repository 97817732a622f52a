// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {BatchInfo, LeaseInfo, LeaseState, TaskInfo} from "../../contracts/interfaces/ITaskMarket.sol";
import {NodeInfo} from "../../contracts/interfaces/INodeRegistry.sol";
import {LeaseId} from "../../contracts/types/LeaseId.sol";
import {requireAtMost, requireEqual, requireThat} from "./Assertions.sol";
import {MarketStage} from "./MarketStage.sol";

/// @notice What must hold of a market, its registry and its token after every act, as anybody can read it from views.
abstract contract MarketBooks is MarketStage {
    /// @dev Every lease that ever was.
    LeaseId[] public leases;

    /// @dev How often each call of the market was done rather than refused, and each exit took a lease from each state.
    mapping(bytes4 selector => uint256) public done;
    mapping(bytes4 selector => mapping(LeaseState => uint256)) public left;

    function check() external view {
        LeaseInfo[] memory infos = new LeaseInfo[](leases.length);
        for (uint256 i; i < infos.length; ++i) infos[i] = market.leaseOf(leases[i]);
        _checkMoney(infos);
        _checkLocks(infos);
        for (uint40 batch = 1; batch <= market.batchCount(); ++batch) _checkGrains(batch, infos);
        for (uint256 i; i < infos.length; ++i) _checkLink(leases[i], infos[i]);
    }

    /// @dev Every token is somebody's.
    function _checkMoney(LeaseInfo[] memory infos) private view {
        uint256 owed = _totalEscrow() + _totalBalances();
        for (uint40 batch = 1; batch <= market.batchCount(); ++batch) owed += _reserve(batch);
        for (uint256 i; i < infos.length; ++i) owed += _owedFee(infos[i]);
        requireEqual("tokens of the market", token.balanceOf(address(market)), owed + gifts[address(market)]);

        uint256 stakes;
        uint256 unbonding;
        for (uint32 node = 1; node <= NODES; ++node) {
            NodeInfo memory info = registry.nodeOf(node);
            stakes += info.stake;
            unbonding += info.unbonding;
        }
        requireEqual("total stake", registry.totalStake(), stakes);
        uint256 held = stakes + unbonding + gifts[address(registry)];
        requireEqual("tokens of the registry", token.balanceOf(address(registry)), held);
    }

    /// @dev What a node's leases lock is what is locked, and it is there.
    function _checkLocks(LeaseInfo[] memory infos) private view {
        uint256[] memory locked = new uint256[](NODES + 1);
        uint256[] memory live = new uint256[](NODES + 1);
        for (uint256 i; i < infos.length; ++i) {
            if (!_isLive(infos[i])) continue;
            locked[leases[i].node()] += infos[i].stake;
            ++live[leases[i].node()];
        }
        for (uint32 node = 1; node <= NODES; ++node) {
            NodeInfo memory info = registry.nodeOf(node);
            requireEqual("locked", info.locked, locked[node]);
            requireAtMost("locked", info.locked, info.stake);
            requireEqual("live", registry.liveLeases(node), live[node]);
        }
    }

    /// @dev A grain is free, or leased once, or refunded, or settled; and a fee is reserved for each unsettled one, but
    /// for a revealed lease's whose replica was paid before it. Views do not tell which: any that stands alone may be.
    function _checkGrains(uint40 batch, LeaseInfo[] memory infos) private view {
        BatchInfo memory info = market.batchOf(batch);
        uint256 taken = info.free;
        uint256 count = _ones(info.free);
        uint256 covered;
        for (uint256 i; i < infos.length; ++i) {
            LeaseInfo memory lease = infos[i];
            if (lease.batch != batch || lease.replica || !_isLive(lease)) continue;
            uint256 bits = ((1 << uint256(lease.grains)) - 1) << lease.first;
            requireEqual("leased twice", taken & bits, 0);
            taken |= bits;
            if (lease.state == LeaseState.Revealed && LeaseId.unwrap(lease.peer) == 0) ++covered;
            count += lease.grains;
        }
        requireEqual("unsettled", info.unsettled, count);
        requireAtMost("replicas paid", info.replicasPaid, info.grains);
        requireAtMost("fees", info.unsettled, info.grains - info.replicasPaid + covered);
        if (info.posted == 0) requireEqual("free in a closed batch", info.free, 0);
    }

    /// @dev A link has two ends, of one primary and one replica.
    function _checkLink(LeaseId lease, LeaseInfo memory info) private view {
        if (LeaseId.unwrap(info.peer) == 0) return;
        LeaseInfo memory peer = market.leaseOf(info.peer);
        requireThat("live ends", _isLive(info) && _isLive(peer));
        requireThat("mutual", LeaseId.unwrap(peer.peer) == LeaseId.unwrap(lease));
        requireThat("one replica", info.replica != peer.replica);
        requireThat("one state", info.state == peer.state);
    }

    /* WEALTH */

    /// @dev What nodes own, then what requesters own, wherever it lies.
    function _wealth() internal view returns (uint256[] memory wealth) {
        wealth = new uint256[](NODES + REQUESTERS);
        for (uint32 node = 1; node <= NODES; ++node) {
            NodeInfo memory info = registry.nodeOf(node);
            wealth[node - 1] =
                uint256(info.stake) + info.unbonding + market.balanceOf(node) + token.balanceOf(_owner(node - 1));
        }
        for (uint256 i; i < REQUESTERS; ++i) wealth[NODES + i] = token.balanceOf(_requester(i));
        for (uint40 task = 1; task <= market.taskCount(); ++task) {
            TaskInfo memory info = market.taskOf(task);
            wealth[_place(info.requester)] += info.escrow;
        }
        for (uint40 batch = 1; batch <= market.batchCount(); ++batch) {
            wealth[_place(market.taskOf(market.batchOf(batch).task).requester)] += _reserve(batch);
        }
    }

    function _place(address requester) private pure returns (uint256) {
        for (uint256 i; i < REQUESTERS; ++i) if (requester == _requester(i)) return NODES + i;
        revert("unknown requester");
    }

    function _totalEscrow() internal view returns (uint256 total) {
        for (uint40 task = 1; task <= market.taskCount(); ++task) total += market.taskOf(task).escrow;
    }

    function _totalBalances() internal view returns (uint256 total) {
        for (uint32 node = 1; node <= NODES; ++node) total += market.balanceOf(node);
    }

    /// @dev Of a batch: the price of what is unsettled, and the fees that have not left it.
    function _reserve(uint40 batch) internal view returns (uint256) {
        BatchInfo memory info = market.batchOf(batch);
        uint256 price = market.taskOf(info.task).terms.price;
        return uint256(info.unsettled) * info.size * price
            + uint256(info.grains - info.replicasPaid) * market.feeOf(batch);
    }

    /// @dev The fee of a replica that stands alone and revealed has left the reserve, and is not yet a balance.
    function _owedFee(LeaseInfo memory info) internal view returns (uint256) {
        bool owed = info.replica && info.state == LeaseState.Revealed && LeaseId.unwrap(info.peer) == 0;
        return owed ? market.feeOf(info.batch) : 0;
    }

    function _isLive(LeaseInfo memory info) internal pure returns (bool) {
        return info.state != LeaseState.Free && info.state != LeaseState.Slashed;
    }

    function _ones(uint256 word) private pure returns (uint256 count) {
        for (; word != 0; word &= word - 1) ++count;
    }
}
