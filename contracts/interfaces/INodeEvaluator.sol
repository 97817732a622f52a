// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice What a node puts out, read off the first bytes of its descriptor.
struct Output {
    /// 0 input, 1 map, 2 dot, 3 sum, 4 max, 5 gather, 6 scatter_sum, 7 scatter_max.
    uint8 kind;
    /// 0 f32, 1 i8, 2 u8, 3 i16, 4 u16, 5 i32, 6 i64.
    uint8 dtype;
    /// Bytes of one element.
    uint8 width;
    uint256 elements;
    /// `02 || type || rank || dimensions (u64, little-endian)`: its sha256 with the raw root behind it is the tensor's
    /// address.
    bytes prefix;
}

/// @notice One value among posted reads, and where it should have been read.
struct Read {
    uint8 dtype;
    /// Bytes of the value.
    uint8 width;
    /// As posted: the bytes, little-endian, as an unsigned integer.
    uint256 posted;
    /// Whether the index map leads to an element of the operand; if not, the true value is `fill`.
    bool inside;
    /// The element's row-major number in the operand's tensor; 0 outside.
    uint256 source;
    /// The fill as an unsigned integer of `width` bytes.
    uint256 fill;
    /// Elements of the operand's tensor.
    uint256 elements;
}

/// @title The arithmetic of the court: one element of one node from posted reads, and where each read comes from.
/// @notice Stateless. A descriptor is the canonical bytes of docs/protocol.md, section 4. Whatever `check` accepts
/// (ProgramValidity is its mirror) is evaluated without a revert, whatever the reads' values, within the prices of
/// node/orebit/program/price.py; about anything else nothing is promised but that it ends.
///
/// `element` is the output element's row-major number. Positions number the reduction's points, row-major; `[from, to)`
/// is a range of them, `[0, 1)` for a map or gather. Reads are position-major: for each position every operand's value
/// in order, little-endian in its type's width; index before value in a gather or scatter.
///
/// A result, `y`, is the element's bytes, little-endian, as an unsigned integer of its type's width, when the range is
/// the whole reduction. Over a part of it, `y` is a partial result: 64 bits, an integer sign-extended, an f32's bits
/// zero-extended. A partial result travels as 8 bytes, little-endian.
interface INodeEvaluator {
    /// @notice These bytes are not the head of a valid descriptor.
    error MalformedHead();
    /// @notice An element, operand or position that the node does not have, or an empty range.
    error OutOfRange();
    /// @notice The reads, or partial results, take another number of bytes; reads of a reduction at most 2,048.
    error WrongLength(uint256 length, uint256 expected);
    /// @notice An input is not computed.
    error NotComputed(uint8 kind);

    /// @notice A descriptor's hash: `sha256(sha256(head) || sha256(body))`, the head being kind, type, rank and
    /// dimensions. Reverts with MalformedHead if the head does not parse.
    function hashOf(bytes calldata descriptor) external pure returns (bytes32);

    /// @notice What the node puts out. Bytes behind the head are ignored, so the whole descriptor does as well.
    /// Reverts with MalformedHead for a head with a clause against it (rank, dimension, elements).
    function outputOf(bytes calldata head) external pure returns (Output memory);

    /// @notice Evaluates the node at `element` over the positions `[from, to)` on these reads alone.
    function evaluate(bytes calldata descriptor, uint256 element, uint256 from, uint256 to, bytes calldata reads)
        external
        pure
        returns (uint256 y);

    /// @notice What `m = min(256, to - from)` partial results, the j-th over `[from + floor(j(to - from)/m),
    /// from + floor((j + 1)(to - from)/m))`, amount to over `[from, to)`: their sum modulo 2^64, or their maximum.
    function combine(bytes calldata descriptor, uint256 from, uint256 to, bytes calldata partials)
        external
        pure
        returns (uint256 y);

    /// @notice Positions of the reduction (1 for a map or gather), and how many of them one move justifies at most.
    function positionsOf(bytes calldata descriptor) external pure returns (uint256 length, uint256 perMove);

    /// @notice The value of `operand` at `position` among reads posted for `[from, to)`, and where the operand's index
    /// map leads there; the second operand of a gather is looked up at the index value that was posted.
    function readOf(
        bytes calldata descriptor,
        uint256 element,
        uint256 from,
        uint256 to,
        bytes calldata reads,
        uint256 operand,
        uint256 position
    ) external pure returns (Read memory);
}
