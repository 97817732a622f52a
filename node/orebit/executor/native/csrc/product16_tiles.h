/* What product16.c takes from each instruction set: the inner loop, and the rescale of what it sums up. */
#ifndef OREBIT_PRODUCT16_TILES_H
#define OREBIT_PRODUCT16_TILES_H

#include "product16.h"

#include <stddef.h>

/* Chunks are a whole number of units of pairs. */
#define CHUNK_UNIT 4
#define MOST_PANELS 2 /* of either operand in one call */

/* Up to MOST_PANELS panels of A and of B, each `pairs_apart` pairs behind the one before. */
struct panels16 {
    const void *a, *b;
    int64_t pairs_apart;
    int rows, columns; /* panels */
};

/* For each of `chunks` chunks of `pairs` pairs: t = sums of products, lo += t, hi += t >> 16. Where hi is NULL there is
 * one chunk and lo = t. `pairs` is a positive multiple of CHUNK_UNIT. lo and hi are 64-byte aligned
 * [p->rows][p->columns][TILE_ROWS][TILE_COLUMNS]; panels are 64-byte aligned. */
typedef void tile16(const struct panels16 *p, int64_t chunks, int64_t pairs, int32_t *lo, int32_t *hi);

/* One tile of panels of doubles: sums over k, all of them exact. `sums` is 64-byte aligned. */
typedef void tile64(const double *a, const double *b, int64_t k, double *sums);

/* As tile16 with hi NULL, for panels of int8: lo = sums over `pairs` pairs, modulo 2^32. */
typedef void tile8(const struct panels16 *p, int64_t pairs, int32_t *lo);

/* Panels that sums16 takes in one call, at most. */
#define AMX_ROW_PANELS 16
#define AMX_COLUMN_PANELS 8

/* The sums of [p->rows][p->columns] tiles over all of k. */
typedef void sums16(const struct panels16 *p, int64_t *sums);

/* Panels of rows by one panel of columns, whose results are rows of consecutive elements. */
struct stripe16 {
    const void *a, *b; /* panels of rows, one behind the other, and the panel of columns */
    int64_t pairs, proven;
    int64_t rows, columns;
    void *out;
    int64_t row_step;           /* elements from a row of out to the next */
    const float *row_scales;    /* powers of two, NaN for a group that is not finite; NULL: out is int64 */
    const float *column_scales; /* likewise; at most 2^GREATEST_COLUMN_SCALE */
};

/* f32(S), below 2^63, times a column's scale must not overflow before it is multiplied by the row's. */
#define GREATEST_COLUMN_SCALE 60

/* Every tile of a stripe. `row_norms` are of each panel of rows; without norms both are NULL. `proven` is at least
 * CHUNK_UNIT, and there are fewer than MOST_CHUNKS chunks. */
typedef void stripes16(const struct stripe16 *s, const float *row_norms, const float *column_norms);

/* Chunks that lo and hi can take up. */
#define MOST_CHUNKS 65536
/* What a chunk's sum may be, with the 16 bits that the chunk before left behind. */
#define LARGEST (2147483647.0 - 65535.0)

/* Pairs that one chunk may hold for two panels of these norms, or NULL; at least 1. */
static inline int64_t orebit_chunk_pairs(int64_t pairs, int64_t proven, const float *na, const float *nb) {
    if (na == NULL || proven >= pairs) return proven < pairs ? proven : pairs;
    if ((double)na[3] * nb[3] <= LARGEST * LARGEST) return pairs;
    for (int i = 2; i >= 0; i--) {
        const int64_t block = INT64_C(8) << i;
        if (block > proven && (double)na[i] * nb[i] <= LARGEST * LARGEST) return block < pairs ? block : pairs;
    }
    return proven;
}

/* One panel of columns, as the epilogue wants it. */
struct columns16 {
    int64_t first, count, offset; /* `offset` is where the first column lies in a row of out */
    int together;                 /* all 16 lie side by side */
    int32_t exponent[TILE_COLUMNS]; /* less the shift */
    int32_t finite[TILE_COLUMNS];   /* all ones, or 0 where the exponent is NOT_FINITE */
};

/* Rescales one tile's sums, hi * 65536 + u32(lo - (hi << 16)) or just lo where hi is NULL, to TILE_COLUMNS floats at
 * each of the TILE_ROWS addresses in `out`. */
typedef void rescale16(const int32_t *lo, const int32_t *hi, const int32_t *row_exponents,
                       const struct columns16 *columns, float *const *out);

/* The same from sums in int64, of any size. */
typedef void rescale64(const int64_t *sums, const int32_t *row_exponents, const struct columns16 *columns,
                       float *const *out);

tile16 orebit_tile16_portable;
rescale16 orebit_rescale16_portable;
tile64 orebit_tile64_portable;
rescale64 orebit_rescale64_portable;
tile8 orebit_tile8_portable;
#if OREBIT_X86
tile16 orebit_tile16_avx2;
rescale16 orebit_rescale16_avx2;
stripes16 orebit_stripe16_avx2;
tile64 orebit_tile64_avx2;
tile16 orebit_tile16_avx512vnni;
rescale16 orebit_rescale16_avx512vnni;
tile64 orebit_tile64_avx512vnni;
rescale64 orebit_rescale64_avx512vnni;
tile8 orebit_tile8_avx512vnni;
#endif
#if OREBIT_AMX
sums16 orebit_sums16_amx;
#endif

#endif
