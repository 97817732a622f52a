/* An exact product over blocks: what the kernels of contraction.c take as their words. */
#ifndef OREBIT_CONTRACTION_H
#define OREBIT_CONTRACTION_H

#include "contraction_pack.h"
#include "orebit.h"

/* Exponents of rows or columns: of (o, lane) at exponents[outer[o] + offsets[lane]]. */
struct contraction_scale {
    const int16_t *exponents;
    const int64_t *outer;
    const int32_t *offsets;
};

/* A side that is packed whole before: [distinct matrix][panel], norms likewise. NULL: each part packs its own. */
struct contraction_whole {
    void *packed;
    float *norms;
    const int64_t *matrix;   /* which matrix an outer position takes */
    const int64_t *distinct; /* an outer position of each matrix */
};

/* out[outer[o] + m * row_step + n] = sum over k of left(o, m, k) * right(o, n, k), as i64, or as f32 where `bits` is
 * not 0: rescaled by the rows' and the columns' exponents. Every field is one 64-bit word. */
struct contraction {
    struct contraction_side left, right;
    struct contraction_scale row_scale, column_scale;
    struct contraction_whole left_whole, right_whole;
    orebit_kernel *product; /* as product16.h has it */
    void *out;
    const int64_t *outer;
    int64_t row_step;
    int64_t bits;
    int64_t spill;                   /* terms that a 32-bit sum may take before it could overflow, as proven */
    int64_t row_block, column_block; /* of one part: multiples of the panels, at most 16,384 together */
    /* Deep products: chunks of depth, each summed on its own into i64 [outer][chunk][row][column]; NULL: none. */
    int64_t *partial;
    int64_t chunk;
};

#endif
