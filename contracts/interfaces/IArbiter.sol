// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LeaseId} from "../types/LeaseId.sol";

/// @title What the market and the registry need of their judge. The court will stand here.
interface IArbiter {
    /// @notice A node registered; the arbiter may set its deposit bit through the registry.
    function nodeRegistered(uint32 node) external;

    /// @notice Whether the node's deposit suffices for so many live leases. Asked where the bit alone cannot tell: at
    /// every eighth lease beyond 32.
    function covers(uint32 node, uint256 leases) external view returns (bool);
}

/// @title The judge of local chains, until the court: the witness of a registered node decides a contested pair.
interface IMajorityArbiter is IArbiter {
    error NotRegistry(address caller);
    error NotContested(LeaseId lease);
    error ContestOver(LeaseId lease, uint40 deadline);
    error NotOperator(uint32 witness, address caller);
    /// @notice A witness has stake, and is neither side.
    error NotAWitness(uint32 witness);
    /// @notice The witness agrees with neither side.
    error AgreesWithNeither(LeaseId lease, bytes32 root);

    event Testified(LeaseId indexed lease, uint32 indexed witness, bytes32 root, LeaseId convicted, uint96 bounty);

    /// @notice States the drawn block's root that the witness computed, within the contest window, once a lease.
    /// Equal to the replica's root, the primary is convicted; opening at the drawn index into the primary's root, the
    /// replica is.
    function testify(LeaseId lease, uint32 witness, bytes32 root, bytes32[] calldata path) external;
}
