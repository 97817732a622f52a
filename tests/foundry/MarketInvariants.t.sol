// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ITaskMarket, LeaseState} from "../../contracts/interfaces/ITaskMarket.sol";
import {FuzzSelector, deploy, vm} from "./Cheatcodes.sol";
import {MarketHandler} from "./MarketHandler.sol";

/// @notice The market under any sequence of acts: conservation to the wei, locks, grains, links; in the end nobody is
/// stuck. The acts themselves check who must not lose, and that nobody is let in who must not be.
contract MarketInvariants {
    /// @dev How often each act was done, and each exit took a lease from each state: a line each, of every run.
    string private constant REACHED = "build/forge/market.txt";

    MarketHandler private _handler;

    function setUp() external {
        _handler = MarketHandler(deploy("MarketHandler.sol:MarketHandler", ""));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev Nobody of the stage: forge would call as the court, and pay for its gas out of the court's ETH.
    function targetSenders() external pure returns (address[] memory senders) {
        senders = new address[](1);
        senders[0] = address(bytes20("the fuzzer"));
    }

    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector(address(_handler), new bytes4[](1));
        excluded[0].selectors[0] = MarketHandler.windDown.selector;
    }

    function invariant_allMoneyIsSomebodys() external view {
        _handler.check();
    }

    function afterInvariant() external {
        _handler.windDown();
        _note("create", ITaskMarket.create.selector);
        _note("post", ITaskMarket.post.selector);
        _note("lease", ITaskMarket.lease.selector);
        _note("commit", ITaskMarket.commit.selector);
        _note("call", ITaskMarket.call.selector);
        _note("take", ITaskMarket.take.selector);
        _note("reveal", ITaskMarket.reveal.selector);
        _note("revealPaired", ITaskMarket.revealPaired.selector);
        _note("close", ITaskMarket.close.selector);
        _note("withdraw", ITaskMarket.withdraw.selector);
        _note("withdrawEscrow", ITaskMarket.withdrawEscrow.selector);
        _note("gameOpened", ITaskMarket.gameOpened.selector);
        _note("gameClosed", ITaskMarket.gameClosed.selector);
        _noteExits("expire", ITaskMarket.expire.selector);
        _noteExits("resolve", ITaskMarket.resolve.selector);
        _noteExits("finalise", ITaskMarket.finalise.selector);
        _noteExits("convict", ITaskMarket.convict.selector);
    }

    function _note(string memory name, bytes4 selector) private {
        _write(name, _handler.done(selector));
    }

    function _noteExits(string memory name, bytes4 selector) private {
        for (uint8 state; state <= uint8(type(LeaseState).max); ++state) {
            uint256 count = _handler.left(selector, LeaseState(state));
            if (count != 0) _write(string.concat(name, " from state ", vm.toString(state)), count);
        }
    }

    function _write(string memory name, uint256 count) private {
        vm.writeLine(REACHED, string.concat(vm.toString(count), " ", name));
    }
}
