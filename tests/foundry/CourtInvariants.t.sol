// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDisputeCourt} from "../../contracts/interfaces/IDisputeCourt.sol";
import {ITaskMarket} from "../../contracts/interfaces/ITaskMarket.sol";
import {FuzzSelector, deploy, vm} from "./Cheatcodes.sol";
import {CourtHandler} from "./CourtHandler.sol";
import {MarketHandler} from "./MarketHandler.sol";

/// @notice The market with the court as its judge, under any sequence of acts: all ETH, bonds, deposits, prepaid demands
/// and credits, and every bounty, is somebody's; in the end all of it is paid out, and nobody is stuck.
contract CourtInvariants {
    string private constant REACHED = "build/forge/court.txt";

    CourtHandler private _handler;

    function setUp() external {
        _handler = CourtHandler(deploy("CourtHandler.sol:CourtHandler", ""));
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
        excluded[0] = FuzzSelector(address(_handler), new bytes4[](4));
        excluded[0].selectors[0] = MarketHandler.windDown.selector;
        excluded[0].selectors[1] = MarketHandler.openGame.selector;
        excluded[0].selectors[2] = MarketHandler.closeGame.selector;
        excluded[0].selectors[3] = MarketHandler.convict.selector;
    }

    function invariant_allMoneyIsSomebodys() external view {
        _handler.check();
        _handler.checkCourt();
    }

    function afterInvariant() external {
        _handler.windDown();
        _note("lease", ITaskMarket.lease.selector);
        _note("reveal", ITaskMarket.reveal.selector);
        _note("revealPaired", ITaskMarket.revealPaired.selector);
        _note("precommit", IDisputeCourt.precommit.selector);
        _note("open", IDisputeCourt.open.selector);
        _note("openAt", IDisputeCourt.openAt.selector);
        _note("answer", IDisputeCourt.answer.selector);
        _note("descend", IDisputeCourt.descend.selector);
        _note("trace", IDisputeCourt.trace.selector);
        _note("invalid", IDisputeCourt.invalid.selector);
        _note("timeout", IDisputeCourt.timeout.selector);
        _note("claim", IDisputeCourt.claim.selector);
        _note("settle", IDisputeCourt.settle.selector);
        _note("returnBond", IDisputeCourt.returnBond.selector);
        _note("demand", IDisputeCourt.demand.selector);
        _note("answerDemand", IDisputeCourt.answerDemand.selector);
        _note("timeoutDemand", IDisputeCourt.timeoutDemand.selector);
        _note("deposit", IDisputeCourt.deposit.selector);
        _note("withdrawDeposit", IDisputeCourt.withdrawDeposit.selector);
        _note("withdrawCredit", IDisputeCourt.withdrawCredit.selector);
    }

    function _note(string memory name, bytes4 selector) private {
        vm.writeLine(REACHED, string.concat(vm.toString(_handler.done(selector)), " ", name));
    }
}
