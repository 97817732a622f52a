/* An exact product over blocks: what the kernels of contraction.c take as their words. */
#ifndef OREBIT_CONTRACTION_H
#define OREBIT_CONTRACTION_H

#include "contraction_pack.h"

/* Exponents of rows or columns: of (o, lane) at exponents[outer[o] + offsets[lane]]. */
struct contraction_scale {
    const int16_t *exponents;
    const int64_t *outer;
    const int32_t *offsets;
};

/* out[outer[o] + m * row_step + n] = sum over k of left(o, m, k) * right(o, n, k), as i64, or as f32 where `bits` is
 * not 0: rescaled by the rows' and the columns' exponents. Every field is one 64-bit word. */
struct contraction {
    struct contraction_side left, right;
    struct contraction_scale row_scale, column_scale;
    void *out;
    const int64_t *outer;
    int64_t outer_count, row_step;
    int64_t bits;
    int64_t spill; /* terms that a 32-bit sum may take before it could overflow */
    /* Whole packed sides, and which matrix of them an outer position takes; NULL: each block packs its own. */
    void *left_packed, *right_packed;
    const int64_t *left_matrix, *right_matrix;
    const int64_t *left_distinct, *right_distinct; /* an outer position of each distinct matrix */
    int64_t row_block, column_block; /* of one part: multiples of the panels */
    /* Deep products: chunks of depth, each summed on its own into i64 [chunk][rows][columns]; NULL: none. */
    int64_t *partial;
    int64_t chunk, depth_block;
};

#endif
