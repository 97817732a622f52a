// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDisputeCourt} from "../interfaces/IDisputeCourt.sol";
import {CourtStorage} from "./CourtStorage.sol";

/// @notice Payments that cannot fail: what a receiver does not take is credited to it. Always a move's last act.
library Payments {
    /// @dev Enough for a receiver with books of its own, too little to hurt who pays.
    uint256 private constant STIPEND = 50_000;
    address private constant NOBODY = address(0);

    function pay(CourtStorage storage s, address to, uint256 amount) internal {
        if (amount == 0 || send(to, amount, STIPEND)) return;
        credit(s, to, amount);
    }

    function credit(CourtStorage storage s, address to, uint256 amount) internal {
        if (amount == 0) return;
        s.credits[to] += amount;
        emit IDisputeCourt.Credited(to, amount);
    }

    function burn(uint256 amount) internal {
        if (amount != 0) send(NOBODY, amount, STIPEND);
    }

    /// @dev Copies nothing of what the receiver returns.
    function send(address to, uint256 amount, uint256 gas_) internal returns (bool done) {
        assembly ("memory-safe") {
            done := call(gas_, to, amount, 0, 0, 0, 0)
        }
    }
}
