// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IArbiter, IMajorityArbiter} from "./interfaces/IArbiter.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {ITaskMarket, LeaseInfo, LeaseState} from "./interfaces/ITaskMarket.sol";
import {Pricing} from "./lib/Pricing.sol";
import {ResultTree} from "./lib/ResultTree.sol";
import {TokenAI} from "./TokenAI.sol";
import {LeaseId} from "./types/LeaseId.sol";

/// @title MajorityArbiter: believes the first witness. For local chains, until the court judges by computing.
contract MajorityArbiter is IMajorityArbiter {
    using SafeERC20 for TokenAI;

    TokenAI public immutable TOKEN;
    INodeRegistry public immutable REGISTRY;
    ITaskMarket public immutable MARKET;

    constructor(TokenAI token, INodeRegistry registry, ITaskMarket market) {
        (TOKEN, REGISTRY, MARKET) = (token, registry, market);
    }

    /// @inheritdoc IArbiter
    function nodeRegistered(uint32 node) external {
        if (msg.sender != address(REGISTRY)) revert NotRegistry(msg.sender);
        REGISTRY.setDeposited(node, true);
    }

    /// @inheritdoc IArbiter
    function covers(uint32, uint256) external pure returns (bool) {
        return true;
    }

    /// @inheritdoc IMajorityArbiter
    function testify(LeaseId lease, uint32 witness, bytes32 root, bytes32[] calldata path) external {
        LeaseInfo memory info = MARKET.leaseOf(lease);
        if (info.state != LeaseState.Contested) revert NotContested(lease);
        (LeaseId primaryId, LeaseId replicaId) = info.replica ? (info.peer, lease) : (lease, info.peer);
        (LeaseInfo memory primary, LeaseInfo memory replica) = (MARKET.leaseOf(primaryId), MARKET.leaseOf(replicaId));
        if (block.timestamp > primary.deadline && block.number > primary.blockNumber + 32) {
            revert ContestOver(lease, primary.deadline);
        }
        _requireWitness(witness, primaryId.node(), replicaId.node());
        bool primaryWrong = root == replica.root;
        if (!primaryWrong) {
            bytes32 opened = ResultTree.open(root, primary.drawnBlock, path, primary.shards, _log2(primary));
            if (opened != primary.root) revert AgreesWithNeither(lease, root);
        }
        (LeaseId wrong, LeaseId right) = primaryWrong ? (primaryId, replicaId) : (replicaId, primaryId);
        uint96 bounty = MARKET.convict(wrong);
        emit Testified(lease, witness, root, wrong, bounty);
        TOKEN.safeTransfer(REGISTRY.payeeOf(right.node()), bounty);
    }

    function _requireWitness(uint32 witness, uint32 primary, uint32 replica) private view {
        if (!REGISTRY.isOperator(witness, msg.sender)) revert NotOperator(witness, msg.sender);
        if (witness == primary || witness == replica || REGISTRY.nodeOf(witness).stake == 0) {
            revert NotAWitness(witness);
        }
    }

    /// @dev log2 of the block that was drawn.
    function _log2(LeaseInfo memory primary) private view returns (uint256) {
        uint256 most = MARKET.taskOf(MARKET.batchOf(primary.batch).task).terms.blockLog2;
        return Math.min(most, Pricing.ceilLog2(primary.shards));
    }
}
