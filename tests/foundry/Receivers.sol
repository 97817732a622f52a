// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Takes no payment.
contract RejectingReceiver {
    error NoThanks();

    receive() external payable {
        revert NoThanks();
    }
}

/// @notice Burns whatever gas it is given.
contract WastefulReceiver {
    uint256 private _count;

    receive() external payable {
        while (true) ++_count;
    }
}

/// @notice Calls back, once a payment, with what it was told.
contract ReentrantReceiver {
    address private _target;
    bytes private _data;

    function prepare(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    receive() external payable {
        (address target, bytes memory data) = (_target, _data);
        // Refused or not: it keeps what it was paid.
        (bool done,) = target.call(data);
        done;
    }
}
