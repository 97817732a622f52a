// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IArbiter} from "../../contracts/interfaces/IArbiter.sol";
import {INodeRegistry} from "../../contracts/interfaces/INodeRegistry.sol";
import {ITaskMarket, Policy} from "../../contracts/interfaces/ITaskMarket.sol";
import {deploy, vm} from "./Cheatcodes.sol";

/// @notice A judge who is bound by nothing: the tests make its calls in its name.
contract WilfulJudge is IArbiter {
    function nodeRegistered(uint32 node) external {
        INodeRegistry(msg.sender).setDeposited(node, true);
    }

    function covers(uint32, uint256) external pure returns (bool) {
        return true;
    }
}

/// @notice A market, its registry and token, and the people around them. This contract is the treasury.
abstract contract MarketStage {
    uint256 public constant NODES = 4;
    uint256 public constant REQUESTERS = 2;
    uint96 internal constant STAKE = 1e24;
    uint40 internal constant UNBONDING_SECONDS = 1 days;
    uint256 private constant START = 1_700_000_000;

    IERC20 public token;
    INodeRegistry public registry;
    ITaskMarket public market;
    address public judge;
    address internal immutable GUARDIAN = _person("guardian", 0);
    address internal immutable WATCHER = _person("watcher", 0);
    address internal immutable STRANGER = _person("stranger", 0);
    /// @dev What was given to a contract, for which nobody is credited.
    mapping(address contract_ => uint256) public gifts;

    constructor() {
        vm.warp(START);
        vm.roll(1000);
        token = IERC20(deploy("TokenAI.sol:TokenAI", abi.encode(address(this))));
        _prepareJudge();
        uint64 nonce = vm.getNonce(address(this));
        address judgeAt = vm.computeCreateAddress(address(this), nonce + 1);
        address marketAt = vm.computeCreateAddress(address(this), nonce + 2);
        registry = INodeRegistry(
            deploy("NodeRegistry.sol:NodeRegistry", abi.encode(token, marketAt, judgeAt, UNBONDING_SECONDS))
        );
        judge = _newJudge(marketAt);
        Policy memory policy = Policy(1, 7 days, false, false);
        market = ITaskMarket(
            deploy("TaskMarket.sol:TaskMarket", abi.encode(token, registry, judge, GUARDIAN, policy))
        );
        require(judge == judgeAt && address(market) == marketAt, "addresses are predicted");
        for (uint256 i; i < REQUESTERS; ++i) _fund(_requester(i), 0, address(market));
        for (uint256 i; i < NODES; ++i) {
            // The last is poor: its stake runs out.
            uint96 stake = i == NODES - 1 ? STAKE / 1e5 : STAKE;
            _fund(_owner(i), stake, address(registry));
            vm.prank(_owner(i));
            registry.register(_operator(i), "", "", stake);
        }
        vm.roll(1001);
    }

    /// @dev What the judge needs, before addresses are predicted.
    function _prepareJudge() internal virtual;

    function _newJudge(address marketAt) internal virtual returns (address);

    function _fund(address who, uint256 amount, address spender) internal {
        require(token.transfer(who, amount), "the treasury pays");
        vm.prank(who);
        token.approve(spender, type(uint256).max);
    }

    function _requester(uint256 index) internal pure returns (address) {
        return _person("requester", index % REQUESTERS);
    }

    function _owner(uint256 index) internal pure returns (address) {
        return _person("owner", index % NODES);
    }

    function _operator(uint256 index) internal pure returns (address) {
        return _person("operator", index % NODES);
    }

    function _operatorOf(uint32 node) internal pure returns (address) {
        return _operator(node - 1);
    }

    function _person(string memory name, uint256 index) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode(name, index)))));
    }

    /* TIME */

    function _rollTo(uint256 number) internal {
        uint256 block_ = vm.getBlockNumber();
        if (number <= block_) return;
        vm.roll(number);
        vm.warp(vm.getBlockTimestamp() + number - block_);
    }

    function _warpTo(uint256 timestamp) internal {
        if (timestamp > vm.getBlockTimestamp()) vm.warp(timestamp);
    }
}
