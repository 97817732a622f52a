// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title TokenAI: what shards are priced, staked and paid in.
/// @notice Its whole supply is minted once, to the treasury. It can be burnt, never minted again.
contract TokenAI is ERC20, ERC20Permit, ERC20Burnable {
    /// @notice Wei of TokenAI that ever exist. Below 2^96, so an amount fits a packed field.
    uint256 public constant CAP = 1_000_000_000e18;

    constructor(address treasury) ERC20("TokenAI", "TAI") ERC20Permit("TokenAI") {
        _mint(treasury, CAP);
    }
}
