// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../interfaces/ITaskMarket.sol";

/// @notice The terms that a lease's life reads, in one slot, from the lowest bit: `price 96 | compute 24 | reveal 24 |
/// challenge seconds 24 | stake factor 16 | late bp 16 | draw bp 16 | fee percent 16 | draw delay 8 | lottery blocks 8
/// |
/// block log2 8`.
type TermsWord is uint256;

using {
    price,
    computeSeconds,
    revealSeconds,
    challengeSeconds,
    stakeFactor,
    lateBp,
    drawBp,
    feePercent,
    drawDelay,
    lotteryBlocks,
    blockLog2
} for TermsWord global;

function packTerms(Terms memory terms) pure returns (TermsWord) {
    return TermsWord.wrap(
        uint256(terms.price) | (uint256(terms.computeSeconds) << 96) | (uint256(terms.revealSeconds) << 120)
            | (uint256(terms.challengeSeconds) << 144) | (uint256(terms.stakeFactor) << 168)
            | (uint256(terms.lateBp) << 184) | (uint256(terms.drawBp) << 200) | (uint256(terms.feePercent) << 216)
            | (uint256(terms.drawDelay) << 232) | (uint256(terms.lotteryBlocks) << 240)
            | (uint256(terms.blockLog2) << 248)
    );
}

function price(TermsWord word) pure returns (uint256) {
    return uint96(TermsWord.unwrap(word));
}

function computeSeconds(TermsWord word) pure returns (uint256) {
    return uint24(TermsWord.unwrap(word) >> 96);
}

function revealSeconds(TermsWord word) pure returns (uint256) {
    return uint24(TermsWord.unwrap(word) >> 120);
}

function challengeSeconds(TermsWord word) pure returns (uint256) {
    return uint24(TermsWord.unwrap(word) >> 144);
}

function stakeFactor(TermsWord word) pure returns (uint256) {
    return uint16(TermsWord.unwrap(word) >> 168);
}

function lateBp(TermsWord word) pure returns (uint256) {
    return uint16(TermsWord.unwrap(word) >> 184);
}

function drawBp(TermsWord word) pure returns (uint256) {
    return uint16(TermsWord.unwrap(word) >> 200);
}

function feePercent(TermsWord word) pure returns (uint256) {
    return uint16(TermsWord.unwrap(word) >> 216);
}

function drawDelay(TermsWord word) pure returns (uint256) {
    return uint8(TermsWord.unwrap(word) >> 232);
}

function lotteryBlocks(TermsWord word) pure returns (uint256) {
    return uint8(TermsWord.unwrap(word) >> 240);
}

function blockLog2(TermsWord word) pure returns (uint256) {
    return uint8(TermsWord.unwrap(word) >> 248);
}
