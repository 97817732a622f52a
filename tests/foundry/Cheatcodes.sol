// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

struct Log {
    bytes32[] topics;
    bytes data;
    address emitter;
}

/// @notice The few cheatcodes that these tests need, of the many that forge answers at this address.
interface Cheatcodes {
    function warp(uint256 timestamp) external;
    function roll(uint256 number) external;
    function prank(address sender) external;
    function deal(address who, uint256 balance) external;
    function getNonce(address who) external view returns (uint64);
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function getCode(string calldata artifact) external view returns (bytes memory);
    function etch(address who, bytes calldata code) external;
    function txGasPrice(uint256 price) external;
    function fee(uint256 basefee) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function writeLine(string calldata path, string calldata line) external;
    function toString(uint256 value) external pure returns (string memory);
    // The optimiser takes the block's number and time for constants within one call.
    function getBlockNumber() external view returns (uint256);
    function getBlockTimestamp() external view returns (uint256);
}

/// @dev What forge asks of a test by `excludeSelectors`.
struct FuzzSelector {
    address addr;
    bytes4[] selectors;
}

/// @dev A contract compiled apart: `new` would have it compiled into each that makes it.
function deploy(string memory artifact, bytes memory arguments) returns (address made) {
    bytes memory code = abi.encodePacked(vm.getCode(artifact), arguments);
    assembly ("memory-safe") {
        made := create(0, add(code, 32), mload(code))
    }
    require(made != address(0), "the constructor refuses");
}

Cheatcodes constant vm = Cheatcodes(address(uint160(uint256(keccak256("hevm cheat code")))));
