// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "../dispute/Binary32.sol";
import {Int64} from "../dispute/Int64.sol";

/// @notice For tests: one operation over many operands in one call, each timed. No script deploys it.
/// Operations have the codes that programs give them; loads and stores, which are none there, come after.
contract ScalarHarness {
    error UnknownOperation(uint256 op);
    error OutOfRange(uint256 op, uint256 result);

    uint256 private constant STORED = 0x62;
    /// @dev A bit for each operation whose result is a float.
    uint256 private constant FLOATS = 0x151ff0000;

    /// @param operands Two words of 64 bits for each result, big-endian.
    /// @return results A word of 64 bits for each pair.
    /// @return spent 16 bits for each: gas from operands in memory to the result in memory.
    function run(uint256 op, bytes calldata operands)
        external
        view
        returns (bytes memory results, bytes memory spent)
    {
        unchecked {
            uint256 count = operands.length / 16;
            // Words are written whole, so the last ones want some room.
            results = new bytes(operands.length / 2 + 24);
            spent = new bytes(operands.length / 8 + 30);
            uint256 idle = gasleft();
            idle -= gasleft();
            uint256[2] memory cell;
            for (uint256 i; i < count; ++i) {
                assembly ("memory-safe") {
                    let word := calldataload(add(operands.offset, mul(i, 16)))
                    mstore(cell, sar(192, word))
                    mstore(add(cell, 32), signextend(7, shr(128, word)))
                }
                uint256 gas_ = _apply(op, cell) - idle;
                _checkRange(op, cell[0]);
                assembly ("memory-safe") {
                    mstore(add(add(results, 32), mul(i, 8)), shl(192, mload(cell)))
                    mstore(add(add(spent, 32), mul(i, 2)), shl(240, gas_))
                }
            }
            assembly ("memory-safe") {
                mstore(results, shr(1, operands.length))
                mstore(spent, shr(3, operands.length))
            }
        }
    }

    /// @dev A float is below 2^32, an integer is sign-extended, what is stored is zero-extended.
    function _checkRange(uint256 op, uint256 result) private pure {
        if ((FLOATS >> op) & 1 == 1 ? result > type(uint32).max : int256(result) != int64(int256(result))) {
            if (op != STORED || result > type(uint64).max) revert OutOfRange(op, result);
        }
    }

    function _apply(uint256 op, uint256[2] memory cell) private view returns (uint256) {
        if (op < 0x17) return _float(op, cell);
        if (op < 0x1c) return _order(op, cell);
        if (op < 0x30) return _convert(op, cell);
        if (op < 0x35 || op == 0x41 || op == 0x42) return _integer(op, cell);
        if (op < 0x3c) return _bits(op, cell);
        return op < 0x41 ? _integerOrder(op, cell) : _memory(op, cell);
    }

    function _float(uint256 op, uint256[2] memory cell) private view returns (uint256 left) {
        unchecked {
            if (op == 0x10) {
                left = gasleft();
                cell[0] = Binary32.add(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x11) {
                left = gasleft();
                cell[0] = Binary32.sub(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x12) {
                left = gasleft();
                cell[0] = Binary32.mul(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x13) {
                left = gasleft();
                cell[0] = Binary32.div(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x14) {
                left = gasleft();
                cell[0] = Binary32.sqrt(cell[0]);
                return left - gasleft();
            }
            if (op == 0x15) {
                left = gasleft();
                cell[0] = Binary32.neg(cell[0]);
                return left - gasleft();
            }
            if (op == 0x16) {
                left = gasleft();
                cell[0] = Binary32.abs(cell[0]);
                return left - gasleft();
            }
            revert UnknownOperation(op);
        }
    }

    function _order(uint256 op, uint256[2] memory cell) private view returns (uint256 left) {
        unchecked {
            if (op == 0x17) {
                left = gasleft();
                cell[0] = Binary32.min(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x18) {
                left = gasleft();
                cell[0] = Binary32.max(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x19) {
                left = gasleft();
                cell[0] = Binary32.lt(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x1a) {
                left = gasleft();
                cell[0] = Binary32.le(cell[0], cell[1]);
                return left - gasleft();
            }
            if (op == 0x1b) {
                left = gasleft();
                cell[0] = Binary32.eq(cell[0], cell[1]);
                return left - gasleft();
            }
            revert UnknownOperation(op);
        }
    }

    function _convert(uint256 op, uint256[2] memory cell) private view returns (uint256 left) {
        unchecked {
            if (op == 0x1c) {
                left = gasleft();
                cell[0] = Binary32.roundHalfEven(cell[0]);
                return left - gasleft();
            }
            if (op == 0x1d) {
                left = gasleft();
                cell[0] = uint256(Binary32.toInt64(cell[0]));
                return left - gasleft();
            }
            if (op == 0x1e) {
                left = gasleft();
                cell[0] = Binary32.fromInt64(int256(cell[0]));
                return left - gasleft();
            }
            if (op == 0x1f) {
                left = gasleft();
                cell[0] = Binary32.canonical(cell[0]);
                return left - gasleft();
            }
            if (op == 0x20) {
                left = gasleft();
                cell[0] = Binary32.canonical(uint32(cell[0]));
                return left - gasleft();
            }
            revert UnknownOperation(op);
        }
    }

    function _integer(uint256 op, uint256[2] memory cell) private view returns (uint256 left) {
        unchecked {
            if (op == 0x30) {
                left = gasleft();
                cell[0] = uint256(Int64.add(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x31) {
                left = gasleft();
                cell[0] = uint256(Int64.sub(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x32) {
                left = gasleft();
                cell[0] = uint256(Int64.mul(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x33) {
                left = gasleft();
                cell[0] = uint256(Int64.neg(int256(cell[0])));
                return left - gasleft();
            }
            if (op == 0x34) {
                left = gasleft();
                cell[0] = uint256(Int64.abs(int256(cell[0])));
                return left - gasleft();
            }
            if (op == 0x41) {
                left = gasleft();
                cell[0] = uint256(Int64.div(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x42) {
                left = gasleft();
                cell[0] = uint256(Int64.rem(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            revert UnknownOperation(op);
        }
    }

    function _bits(uint256 op, uint256[2] memory cell) private view returns (uint256 left) {
        unchecked {
            if (op == 0x35) {
                left = gasleft();
                cell[0] = uint256(Int64.and(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x36) {
                left = gasleft();
                cell[0] = uint256(Int64.or(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x37) {
                left = gasleft();
                cell[0] = uint256(Int64.xor(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x38) {
                left = gasleft();
                cell[0] = uint256(Int64.shl(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x39) {
                left = gasleft();
                cell[0] = uint256(Int64.shr(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x3a) {
                left = gasleft();
                cell[0] = uint256(Int64.sar(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x3b) {
                left = gasleft();
                cell[0] = uint256(Int64.rotl32(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            revert UnknownOperation(op);
        }
    }

    function _integerOrder(uint256 op, uint256[2] memory cell) private view returns (uint256 left) {
        unchecked {
            if (op == 0x3c) {
                left = gasleft();
                cell[0] = uint256(Int64.lt(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x3d) {
                left = gasleft();
                cell[0] = uint256(Int64.le(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x3e) {
                left = gasleft();
                cell[0] = uint256(Int64.eq(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x3f) {
                left = gasleft();
                cell[0] = uint256(Int64.min(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            if (op == 0x40) {
                left = gasleft();
                cell[0] = uint256(Int64.max(int256(cell[0]), int256(cell[1])));
                return left - gasleft();
            }
            revert UnknownOperation(op);
        }
    }

    function _memory(uint256 op, uint256[2] memory cell) private view returns (uint256 left) {
        unchecked {
            if (op == 0x60) {
                left = gasleft();
                cell[0] = uint256(Int64.signExtended(cell[0], cell[1]));
                return left - gasleft();
            }
            if (op == 0x61) {
                left = gasleft();
                cell[0] = uint256(Int64.zeroExtended(cell[0], cell[1]));
                return left - gasleft();
            }
            if (op == STORED) {
                left = gasleft();
                cell[0] = Int64.stored(int256(cell[0]), cell[1]);
                return left - gasleft();
            }
            revert UnknownOperation(op);
        }
    }
}
