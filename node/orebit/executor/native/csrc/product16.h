/* Exact products of small integers: layouts, and the words of the kernels in product16*.c and pack16.c. */
#ifndef OREBIT_PRODUCT16_H
#define OREBIT_PRODUCT16_H

#include "orebit.h"

/* Packed operands are panels of TILE_ROWS rows of A or TILE_COLUMNS columns of B: [panel][pair][row][2] int16, where
 * pair p holds k = 2p and 2p + 1. Pairs are padded with zeros to a multiple of PAIR_UNIT, panels to whole ones. */
#define TILE_ROWS 4
#define TILE_COLUMNS 16
#define TILE (TILE_ROWS * TILE_COLUMNS)
#define PAIR_UNIT 8

/* Panels of int8 for orebit_product8_*: [panel][group][row][4] int8, where group g holds k = 4g to 4g + 3. P_PAIRS counts
 * pairs here too, norms are not used. Panels of double for orebit_product64_*: [panel][k][row]. */

/* A panel's norms: upper bounds, as float, of the sum of squares along one row over any aligned block of 8, 16 and 32
 * pairs, and over all of them. By Cauchy-Schwarz they bound the sum of products over such a block. */
#define NORMS 4

#define NOT_FINITE 129
#define NAN_BITS UINT32_C(0x7fc00000)

/* orebit_product16_*: out[row, column] = sum over k of A[row, k] * B[column, k].
 * Range: batch * row blocks * column blocks. Strides count elements unless said. */
enum product16_word {
    P_A, P_B, P_OUT,             /* addresses; out is int64, or float where P_RESCALED */
    P_ROWS, P_COLUMNS, P_PAIRS,  /* P_PAIRS is padded */
    P_A_BATCH, P_B_BATCH,        /* bytes from one batch's panels to the next; 0 shares them */
    P_OUT_BATCH,
    P_ROW_GROUP, P_COLUMN_GROUP, /* rows and columns come in groups of this many (all of them: one group) */
    P_OUT_ROW_GROUP, P_OUT_ROW,
    P_OUT_COLUMN_GROUP, P_OUT_COLUMN,
    P_ROW_BLOCK, P_COLUMN_BLOCK, /* panels in a block of the range */
    P_PROVEN_PAIRS,              /* sums over this many pairs fit int32 by the operands' proven range */
    P_A_NORMS, P_B_NORMS,        /* addresses of [batch][panel][NORMS] float, or 0; batches as the panels' */
    P_RESCALED,                  /* 1: out = f32(sum) * 2^h * 2^(E - h), E = ea + eb - P_SHIFT, h = E >> 1 */
    P_SHIFT,
    P_EA, P_EA_BATCH, P_EA_GROUP, P_EA_ROW,    /* int16 exponents of rows */
    P_EB, P_EB_BATCH, P_EB_GROUP, P_EB_COLUMN, /* int16 exponents of columns */
    P_BIAS, P_BIAS_ROW, P_BIAS_COLUMN,         /* float, added after the rescale, or 0 */
    P_WORDS
};

/* orebit_pack16_*: panels from a strided view of [batch][row][k]. Range: batch * panels; strides count elements. */
enum pack16_word {
    K_SOURCE, K_TARGET,
    K_ROWS, K_K,
    K_BATCH, K_ROW, K_COLUMN,    /* the source's strides; K_COLUMN steps along k */
    K_TARGET_BATCH,              /* bytes */
    K_TILE,                      /* TILE_ROWS or TILE_COLUMNS */
    K_NORMS,                     /* address of [batch][panel][NORMS] float, or 0 */
    K_BITS,                      /* from here on for orebit_pack16_f32 only */
    K_EXPONENTS, K_EXPONENTS_BATCH, K_EXPONENTS_GROUP, K_EXPONENTS_ROW, K_GROUP, /* as P_EA..., rows in groups of K_GROUP */
    K_MEASURE,                   /* 1: each row is a group: its exponent is computed and written, not read */
    K_WORDS
};

/* orebit_exponents_f32: int16 exponents of groups of [outer][row][inner][k]: one group a row. Range: rows. */
enum exponents_word {
    X_SOURCE, X_OUT, X_ROWS, X_OUTER, X_INNER, X_K,
    X_ROW, X_OUTER_STRIDE, X_INNER_STRIDE, X_COLUMN, X_OUT_ROW, X_BITS,
    X_WORDS
};

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline void *address(int64_t word) { return (void *)(uintptr_t)word; }

#endif
