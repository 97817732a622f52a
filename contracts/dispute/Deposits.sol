// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IDisputeCourt, NodeBook} from "../interfaces/IDisputeCourt.sol";
import {CourtStorage} from "./CourtStorage.sol";
import {Payments} from "./Payments.sol";
import {Schedule} from "./Schedule.sol";

/// @notice A node's ETH, out of which challengers who were right are made whole.
library Deposits {
    uint256 private constant LEAST_GAMES = 4;
    uint256 private constant LEASES_PER_GAME = 8;

    function add(CourtStorage storage s, uint32 node) internal {
        if (node == 0 || node > s.registry.nodeCount()) revert IDisputeCourt.UnknownNode(node);
        NodeBook storage self = s.nodes[node];
        self.deposit += uint96(msg.value);
        emit IDisputeCourt.DepositAdded(node, msg.sender, uint96(msg.value), self.deposit);
        refresh(s, node);
    }

    function withdraw(CourtStorage storage s, uint32 node, uint96 amount) internal {
        if (!s.registry.isOperator(node, msg.sender)) revert IDisputeCourt.NotOperator(node, msg.sender);
        NodeBook storage self = s.nodes[node];
        if (self.unsettled != 0) revert IDisputeCourt.DepositClaimed(node, self.unsettled);
        uint96 held = self.deposit;
        uint256 kept = s.registry.liveLeases(node) == 0 ? 0 : floor(s, node);
        uint256 available = held > kept ? held - kept : 0;
        if (amount > available) revert IDisputeCourt.DepositShort(node, amount, available);
        self.deposit = held - amount;
        address payee = s.registry.payeeOf(node);
        emit IDisputeCourt.DepositWithdrawn(node, payee, amount, held - amount);
        refresh(s, node);
        Payments.pay(s, payee, amount);
    }

    /// @dev @return taken As much of it as there is.
    function take(CourtStorage storage s, uint32 node, uint96 amount) internal returns (uint96 taken) {
        uint96 held = s.nodes[node].deposit;
        taken = amount < held ? amount : held;
        s.nodes[node].deposit = held - taken;
    }

    /// @dev Tells the registry when the deposit crosses its floor.
    function refresh(CourtStorage storage s, uint32 node) internal {
        NodeBook storage self = s.nodes[node];
        bool enough = self.deposit >= floor(s, node);
        if (enough == self.enough) return;
        self.enough = enough;
        s.registry.setDeposited(node, enough);
    }

    /// @dev Without which the node may not lease.
    function floor(CourtStorage storage s, uint32 node) internal view returns (uint256) {
        return floorFor(s, s.registry.liveLeases(node));
    }

    function floorFor(CourtStorage storage s, uint256 leases) internal view returns (uint256) {
        return Math.max(LEAST_GAMES, leases / LEASES_PER_GAME) * Schedule.priceAtCap(s, Schedule.GAME);
    }
}
