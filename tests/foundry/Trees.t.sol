// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Merkle} from "../../contracts/dispute/Merkle.sol";
import {Roots} from "../../contracts/dispute/Roots.sol";
import {ResultTree} from "../../contracts/lib/ResultTree.sol";
import {between, requireEqual, requireThat} from "./Assertions.sol";
import {PaddedTree} from "./PaddedTree.sol";

/// @notice The libraries' functions take calldata: here is a contract to call.
contract Trees {
    function open(bytes32 node, uint256 index, bytes32[] calldata path, uint256 shards, uint256 log2)
        external
        pure
        returns (bytes32)
    {
        return ResultTree.open(node, index, path, shards, log2);
    }

    function root(bytes32[] calldata entries, uint256 depth) external view returns (bytes32) {
        return Merkle.root(entries, depth);
    }

    function top(bytes32 entry, uint256 index, uint256 count, bytes32[] calldata path) external view returns (bytes32) {
        return Merkle.top(entry, index, count, path);
    }
}

/// @notice What opens into a root, and that nothing else does.
contract TreesTest {
    Trees private immutable TREES = new Trees();

    function testFuzz_resultTreeOpensItsBlocks(uint256 seed) external view {
        bytes32[] memory entries = _entries(seed, 40);
        uint256 log2 = between(seed >> 16, 0, PaddedTree.height(entries.length));
        uint256 blocks = ResultTree.blocks(entries.length, log2);
        uint256 index = between(seed >> 32, 0, blocks - 1);
        requireEqual("blocks", blocks, (entries.length + (1 << log2) - 1) / (1 << log2));
        bytes32 node = PaddedTree.level(entries, log2)[index];
        requireThat("a block counted holds something", node != 0);
        bytes32[] memory path = PaddedTree.path(entries, log2, index);
        bytes32 expected = PaddedTree.finalised(2, entries.length, PaddedTree.root(entries));
        requireThat("opens", TREES.open(node, index, path, entries.length, log2) == expected);
        _requireOnlyThat(seed, node, index, path, entries.length, log2, expected);
    }

    function _requireOnlyThat(
        uint256 seed,
        bytes32 node,
        uint256 index,
        bytes32[] memory path,
        uint256 count,
        uint256 log2,
        bytes32 expected
    ) private view {
        requireThat("other node", TREES.open(~node, index, path, count, log2) != expected);
        requireThat("other count", !_opens(node, index, path, count + 1, log2, expected));
        if (path.length == 0) return;
        uint256 level = between(seed >> 48, 0, path.length - 1);
        requireThat("other index", TREES.open(node, index ^ (1 << level), path, count, log2) != expected);
        requireThat("other level", !_opens(node, index, path, count, log2 + 1, expected));
        path[level] = ~path[level];
        requireThat("other path", TREES.open(node, index, path, count, log2) != expected);
    }

    function testFuzz_courtsRootIsTheBooks(uint256 seed) external view {
        bytes32[] memory entries = _entries(seed, 140);
        uint256 height = PaddedTree.height(entries.length);
        requireEqual("height", Merkle.height(entries.length), height);
        bytes32 expected = PaddedTree.root(entries);
        requireThat("root", TREES.root(entries, height) == expected);
        bytes32 padded = TREES.root(entries, height + 1);
        requireThat("padded", padded == PaddedTree.parent(expected, 0));
    }

    function testFuzz_courtsTopIsTheBooks(uint256 seed) external view {
        bytes32[] memory entries = _entries(seed, 40);
        uint256 index = between(seed >> 32, 0, entries.length - 1);
        bytes32[] memory path = PaddedTree.path(entries, 0, index);
        bytes32 expected = PaddedTree.root(entries);
        requireThat("top", TREES.top(entries[index], index, entries.length, path) == expected);
        requireThat("other entry", TREES.top(~entries[index], index, entries.length, path) != expected);
        try TREES.top(entries[index], entries.length, entries.length, path) {
            requireThat("index outside its count", false);
        } catch {}
    }

    function testFuzz_aZeroIsNoEntry(uint256 seed) external view {
        bytes32[] memory entries = _entries(seed, 40);
        entries[between(seed >> 32, 0, entries.length - 1)] = 0;
        try TREES.root(entries, PaddedTree.height(entries.length)) {
            requireThat("a zero inside the count", false);
        } catch {}
    }

    function testFuzz_width(uint256 seed) external pure {
        uint256 count = between(seed, 0, 300);
        uint256 level = between(seed >> 128, 0, 10);
        uint256 nodes;
        for (uint256 i; i < count; i += 1 << level) ++nodes;
        requireEqual("width", Merkle.width(count, level), nodes);
    }

    function testFuzz_finalisedIsTheBooks(uint8 kind, uint64 count, bytes32 raw) external pure {
        requireThat("list", Roots.list(kind, count, raw) == PaddedTree.finalised(kind, count, raw));
    }

    function _opens(
        bytes32 node,
        uint256 index,
        bytes32[] memory path,
        uint256 count,
        uint256 log2,
        bytes32 expected
    ) private view returns (bool) {
        try TREES.open(node, index, path, count, log2) returns (bytes32 opened) {
            return opened == expected;
        } catch {
            return false;
        }
    }

    function _entries(uint256 seed, uint256 most) private pure returns (bytes32[] memory entries) {
        entries = new bytes32[](between(seed, 1, most));
        for (uint256 i; i < entries.length; ++i) entries[i] = keccak256(abi.encode(seed, i));
    }
}
