/* Exact int16 products: what every instruction set shares. See product16.h for the words.
 *
 * t = the sum of products over a chunk of pairs that provably fits int32. lo += t modulo 2^32, hi += t >> 16; at the end
 * S = hi * 65536 + u32(lo - (hi << 16)), exact while there are at most 65,536 chunks; longer sums are cut. The chunk is
 * as long as the operands' proven range allows, or as long as the norms of the two panels at hand do. */
#include "product16.h"
#include "product16_tiles.h"

#include <stdbool.h>
#include <string.h>

#define MOST_CHUNKS 65536
#define LARGEST 2147483647.0

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* One tile's sums: `narrow` in lo alone, else lo and hi, else (more chunks than those hold) `sums`. */
struct tile_sums {
    _Alignas(64) int32_t lo[TILE];
    _Alignas(64) int32_t hi[TILE];
    _Alignas(64) int64_t sums[TILE];
    enum { NARROW, WIDE, FULL } kind;
};

/* Pairs that one chunk may hold for these two panels; at least 1. */
ALWAYS_INLINE int64_t chunk_pairs(const int64_t *w, const float *na, const float *nb) {
    int64_t pairs = w[P_PROVEN_PAIRS];
    if (na == NULL || pairs >= w[P_PAIRS]) return pairs;
    if ((double)na[3] * nb[3] <= LARGEST * LARGEST) return w[P_PAIRS];
    for (int i = 2; i >= 0; i--) {
        const int64_t block = INT64_C(8) << i;
        if (block > pairs && (double)na[i] * nb[i] <= LARGEST * LARGEST) return block;
    }
    return pairs;
}

/* Few pairs a chunk (16 bits and worse): plain int64 sums. */
static void slow_tile(const int16_t *a, const int16_t *b, int64_t pairs, int64_t *sums) {
    memset(sums, 0, TILE * sizeof *sums);
    for (int64_t p = 0; p < pairs; p++, a += 2 * TILE_ROWS, b += 2 * TILE_COLUMNS)
        for (int r = 0; r < TILE_ROWS; r++)
            for (int c = 0; c < TILE_COLUMNS; c++)
                sums[r * TILE_COLUMNS + c] += (int64_t)a[2 * r] * b[2 * c] + (int64_t)a[2 * r + 1] * b[2 * c + 1];
}

ALWAYS_INLINE void widen(const struct tile_sums *t, int64_t *sums) {
    for (int i = 0; i < TILE; i++) {
        const uint32_t low = (uint32_t)t->lo[i] - ((uint32_t)t->hi[i] << 16);
        sums[i] = (int64_t)t->hi[i] * 65536 + low;
    }
}

ALWAYS_INLINE void multiply_tile(tile16 *tile, const int16_t *a, const int16_t *b, int64_t pairs, int64_t chunk,
                                 struct tile_sums *t) {
    if (chunk >= pairs) {
        t->kind = NARROW;
        tile(a, b, 1, pairs, t->lo, NULL);
        return;
    }
    chunk -= chunk % CHUNK_UNIT;
    if (chunk == 0) {
        t->kind = FULL;
        slow_tile(a, b, pairs, t->sums);
        return;
    }
    t->kind = WIDE;
    for (int64_t done = 0; done < pairs;) {
        const int64_t left = pairs - done, whole = left / chunk;
        const int64_t chunks = whole < MOST_CHUNKS - 1 ? whole : MOST_CHUNKS - 1;
        memset(t->lo, 0, sizeof t->lo);
        memset(t->hi, 0, sizeof t->hi);
        if (chunks > 0) tile(a + done * 2 * TILE_ROWS, b + done * 2 * TILE_COLUMNS, chunks, chunk, t->lo, t->hi);
        int64_t taken = chunks * chunk;
        if (chunks == whole && taken < left) {
            const int64_t at = done + taken;
            tile(a + at * 2 * TILE_ROWS, b + at * 2 * TILE_COLUMNS, 1, left - taken, t->lo, t->hi);
            taken = left;
        }
        if (done == 0 && taken == pairs) return;
        int64_t part[TILE];
        widen(t, part);
        for (int i = 0; i < TILE; i++) t->sums[i] = (done == 0 ? 0 : t->sums[i]) + part[i];
        t->kind = FULL;
        done += taken;
    }
}

/* The correctly rounded float of 16 sums. |hi * 65536 + low| < 2^53, so the double is exact and rounds only once. */
ALWAYS_INLINE void round_row(const struct tile_sums *t, int row, float *out) {
    const int at = row * TILE_COLUMNS;
    if (t->kind == NARROW) {
        for (int c = 0; c < TILE_COLUMNS; c++) out[c] = (float)t->lo[at + c];
    } else if (t->kind == WIDE) {
        for (int c = 0; c < TILE_COLUMNS; c++) {
            const int32_t low = (int32_t)((uint32_t)t->lo[at + c] - ((uint32_t)t->hi[at + c] << 16) - 0x80000000u);
            out[c] = (float)((double)t->hi[at + c] * 65536.0 + ((double)low + 2147483648.0));
        }
    } else {
        for (int c = 0; c < TILE_COLUMNS; c++) out[c] = (float)t->sums[at + c];
    }
}

/* Columns of one panel, as the epilogue wants them. */
struct columns {
    int64_t first, count, offset; /* where the first column lies in a row of out */
    bool together;                /* all 16, side by side */
    int32_t exponent[TILE_COLUMNS];
    int32_t finite[TILE_COLUMNS]; /* all ones, or 0 where the exponent is NOT_FINITE */
};

ALWAYS_INLINE int64_t column_offset(const int64_t *w, int64_t column) {
    return column / w[P_COLUMN_GROUP] * w[P_OUT_COLUMN_GROUP] + column % w[P_COLUMN_GROUP] * w[P_OUT_COLUMN];
}

ALWAYS_INLINE void prepare_columns(const int64_t *w, int64_t batch, int64_t panel, struct columns *at) {
    at->first = panel * TILE_COLUMNS;
    const int64_t left = w[P_COLUMNS] - at->first;
    at->count = left < TILE_COLUMNS ? left : TILE_COLUMNS;
    at->offset = column_offset(w, at->first);
    const int64_t last = at->first + TILE_COLUMNS - 1;
    at->together = at->count == TILE_COLUMNS && w[P_OUT_COLUMN] == 1 &&
                   at->first / w[P_COLUMN_GROUP] == last / w[P_COLUMN_GROUP];
    if (!w[P_RESCALED]) return;
    const int16_t *eb = (const int16_t *)address(w[P_EB]) + batch * w[P_EB_BATCH];
    for (int c = 0; c < TILE_COLUMNS; c++) {
        const int64_t column = at->first + (c < at->count ? c : 0);
        const int32_t e = eb[column / w[P_COLUMN_GROUP] * w[P_EB_GROUP] + column % w[P_COLUMN_GROUP] * w[P_EB_COLUMN]];
        at->exponent[c] = e - (int32_t)w[P_SHIFT];
        at->finite[c] = e == NOT_FINITE ? 0 : -1;
    }
}

ALWAYS_INLINE void rescale_row(float *x, int32_t ea, const struct columns *at) {
    uint32_t bits[TILE_COLUMNS], first[TILE_COLUMNS], second[TILE_COLUMNS];
    float one[TILE_COLUMNS], other[TILE_COLUMNS];
    for (int c = 0; c < TILE_COLUMNS; c++) {
        const int32_t scale = ea + at->exponent[c], half = scale >> 1;
        first[c] = (uint32_t)(half + 127) << 23;
        second[c] = (uint32_t)(scale - half + 127) << 23;
    }
    memcpy(one, first, sizeof one);
    memcpy(other, second, sizeof other);
    for (int c = 0; c < TILE_COLUMNS; c++) x[c] = x[c] * one[c] * other[c];
    memcpy(bits, x, sizeof bits);
    const uint32_t row = ea == NOT_FINITE ? 0 : UINT32_MAX;
    for (int c = 0; c < TILE_COLUMNS; c++) {
        const uint32_t finite = row & (uint32_t)at->finite[c];
        bits[c] = (bits[c] & finite) | (NAN_BITS & ~finite);
    }
    memcpy(x, bits, sizeof bits);
}

ALWAYS_INLINE void add_bias(const int64_t *w, float *x, int64_t row, const struct columns *at) {
    const float *bias = (const float *)address(w[P_BIAS]) + row * w[P_BIAS_ROW];
    uint32_t bits[TILE_COLUMNS];
    for (int c = 0; c < at->count; c++) x[c] = x[c] + bias[(at->first + c) * w[P_BIAS_COLUMN]];
    memcpy(bits, x, sizeof bits);
    for (int c = 0; c < TILE_COLUMNS; c++) bits[c] = (bits[c] & 0x7fffffff) > 0x7f800000 ? NAN_BITS : bits[c];
    memcpy(x, bits, sizeof bits);
}

ALWAYS_INLINE void store_tile(const int64_t *w, int64_t batch, int64_t row_panel, const struct columns *at,
                              struct tile_sums *t) {
    if (!w[P_RESCALED] && t->kind == WIDE) widen(t, t->sums);
    for (int r = 0; r < TILE_ROWS; r++) {
        const int64_t row = row_panel * TILE_ROWS + r;
        if (row >= w[P_ROWS]) return;
        const int64_t group = row / w[P_ROW_GROUP], within = row % w[P_ROW_GROUP];
        const int64_t to = batch * w[P_OUT_BATCH] + group * w[P_OUT_ROW_GROUP] + within * w[P_OUT_ROW];
        if (!w[P_RESCALED]) {
            int64_t *out = (int64_t *)address(w[P_OUT]) + to;
            for (int c = 0; c < at->count; c++) {
                const int i = r * TILE_COLUMNS + c;
                out[column_offset(w, at->first + c)] = t->kind == NARROW ? t->lo[i] : t->sums[i];
            }
            continue;
        }
        float x[TILE_COLUMNS];
        const int16_t *ea = (const int16_t *)address(w[P_EA]) + batch * w[P_EA_BATCH];
        round_row(t, r, x);
        rescale_row(x, ea[group * w[P_EA_GROUP] + within * w[P_EA_ROW]], at);
        if (w[P_BIAS]) add_bias(w, x, row, at);
        float *out = (float *)address(w[P_OUT]) + to;
        if (at->together) {
            memcpy(out + at->offset, x, sizeof x);
        } else {
            for (int c = 0; c < at->count; c++) out[column_offset(w, at->first + c)] = x[c];
        }
    }
}

ALWAYS_INLINE void multiply(tile16 *tile, const int64_t *w, int64_t begin, int64_t end) {
    const int64_t row_panels = ceil_div(w[P_ROWS], TILE_ROWS), column_panels = ceil_div(w[P_COLUMNS], TILE_COLUMNS);
    const int64_t row_blocks = ceil_div(row_panels, w[P_ROW_BLOCK]);
    const int64_t column_blocks = ceil_div(column_panels, w[P_COLUMN_BLOCK]);
    const int64_t pairs = w[P_PAIRS];
    struct tile_sums t;
    struct columns columns;
    for (int64_t index = begin; index < end; index++) {
        const int64_t batch = index / (row_blocks * column_blocks), block = index % (row_blocks * column_blocks);
        const int64_t r0 = block / column_blocks * w[P_ROW_BLOCK], c0 = block % column_blocks * w[P_COLUMN_BLOCK];
        const int64_t r1 = r0 + w[P_ROW_BLOCK] < row_panels ? r0 + w[P_ROW_BLOCK] : row_panels;
        const int64_t c1 = c0 + w[P_COLUMN_BLOCK] < column_panels ? c0 + w[P_COLUMN_BLOCK] : column_panels;
        const int16_t *a = (const int16_t *)address(w[P_A] + batch * w[P_A_BATCH]);
        const int16_t *b = (const int16_t *)address(w[P_B] + batch * w[P_B_BATCH]);
        const bool normed = w[P_A_NORMS] && w[P_B_NORMS];
        const float *na = normed ? (const float *)address(w[P_A_NORMS]) + (w[P_A_BATCH] ? batch : 0) * row_panels * NORMS : NULL;
        const float *nb = normed ? (const float *)address(w[P_B_NORMS]) + (w[P_B_BATCH] ? batch : 0) * column_panels * NORMS : NULL;
        for (int64_t c = c0; c < c1; c++) {
            prepare_columns(w, batch, c, &columns);
            for (int64_t r = r0; r < r1; r++) {
                const int64_t chunk = chunk_pairs(w, normed ? na + r * NORMS : NULL, normed ? nb + c * NORMS : NULL);
                multiply_tile(tile, a + r * pairs * 2 * TILE_ROWS, b + c * pairs * 2 * TILE_COLUMNS, pairs, chunk, &t);
                store_tile(w, batch, r, &columns, &t);
            }
        }
    }
}

OREBIT_EXPORT void orebit_product16_portable(const int64_t *args, int64_t begin, int64_t end) {
    multiply(orebit_tile16_portable, args, begin, end);
}

#if OREBIT_X86
__attribute__((target("avx2"))) OREBIT_EXPORT void orebit_product16_avx2(const int64_t *args, int64_t begin,
                                                                         int64_t end) {
    multiply(orebit_tile16_avx2, args, begin, end);
}
#endif
