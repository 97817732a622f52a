/* Exact int16 products: what every instruction set shares. See product16.h for the words.
 *
 * t = the sum of products over a chunk of pairs that provably fits int32. lo += t modulo 2^32, hi += t >> 16; at the end
 * S = hi * 65536 + u32(lo - (hi << 16)), exact while there are at most 65,536 chunks; longer sums are cut. The chunk is
 * as long as the operands' proven range allows, or as long as the norms of the panels at hand do. */
#include "product16_tiles.h"

#include <stdbool.h>
#include <string.h>

/* Shorter sums leave most of a tile of bytes empty, and end before splitting digits into bytes has paid. */
#define LEAST_PAIRS_FOR_TILES 64
#define MOST_TILES (MOST_PANELS * MOST_PANELS)

/* The kernels of one instruction set, and the panels that its inner loop takes at once. */
struct variant {
    rescale16 *rescale;
    rescale64 *rescale64;
    int rows, columns;
    int bytes; /* of one digit */
    tile16 *tile16;
    tile8 *tile8;
    tile64 *tile64;
    sums16 *sums16; /* instead of tile16 for long sums: many panels at once */
    stripes16 *stripe; /* instead of tile16 where results are rows of consecutive elements */
};

/* Sums of several tiles: NARROW in lo alone, WIDE in lo and hi, FULL (more chunks than those hold) in `sums`. */
struct tile_sums {
    _Alignas(64) int32_t lo[MOST_TILES * TILE];
    _Alignas(64) int32_t hi[MOST_TILES * TILE];
    int64_t sums[MOST_TILES * TILE];
    enum { NARROW, WIDE, FULL } kind;
};

/* Where index i of groups of `size` lies. */
static int64_t grouped(int64_t i, int64_t size, int64_t group_stride, int64_t stride) {
    if (i < size) return i * stride;
    return i / size * group_stride + i % size * stride;
}

/* Few pairs a chunk (16 bits and worse): plain int64 sums. */
static void sum_slowly(const int16_t *a, const int16_t *b, int64_t pairs, int64_t *sums) {
    memset(sums, 0, TILE * sizeof *sums);
    for (int64_t p = 0; p < pairs; p++, a += 2 * TILE_ROWS, b += 2 * TILE_COLUMNS)
        for (int r = 0; r < TILE_ROWS; r++)
            for (int c = 0; c < TILE_COLUMNS; c++)
                sums[r * TILE_COLUMNS + c] += (int64_t)a[2 * r] * b[2 * c] + (int64_t)a[2 * r + 1] * b[2 * c + 1];
}

static void add_widened(const struct tile_sums *t, int tiles, int64_t *sums) {
    for (int i = 0; i < tiles * TILE; i++) {
        const uint32_t low = (uint32_t)t->lo[i] - ((uint32_t)t->hi[i] << 16);
        sums[i] += (int64_t)t->hi[i] * 65536 + low;
    }
}

/* The panels from a later pair on. */
static struct panels16 from_pair(const struct panels16 *p, int64_t pair, int bytes) {
    struct panels16 later = *p;
    later.a = (const char *)p->a + pair * 2 * TILE_ROWS * bytes;
    later.b = (const char *)p->b + pair * 2 * TILE_COLUMNS * bytes;
    return later;
}

/* Chunks [from, from + chunks * chunk) of pairs. */
static void run_tile(tile16 *tile, const struct panels16 *p, int64_t from, int64_t chunks, int64_t chunk, int32_t *lo,
                     int32_t *hi) {
    const struct panels16 later = from_pair(p, from, sizeof(int16_t));
    tile(&later, chunks, chunk, lo, hi);
}

static void multiply_wide(tile16 *tile, const struct panels16 *p, int64_t pairs, int64_t chunk, struct tile_sums *t) {
    const int tiles = p->rows * p->columns;
    const size_t size = (size_t)tiles * TILE;
    const bool cut = pairs / chunk >= MOST_CHUNKS;
    t->kind = cut ? FULL : WIDE;
    if (cut) memset(t->sums, 0, size * sizeof *t->sums);
    for (int64_t done = 0; done < pairs;) {
        int64_t chunks = (pairs - done) / chunk;
        if (chunks >= MOST_CHUNKS) chunks = MOST_CHUNKS - 1;
        memset(t->lo, 0, size * sizeof *t->lo);
        memset(t->hi, 0, size * sizeof *t->hi);
        if (chunks > 0 && done == 0) tile(p, chunks, chunk, t->lo, t->hi);
        else if (chunks > 0) run_tile(tile, p, done, chunks, chunk, t->lo, t->hi);
        done += chunks * chunk;
        if (pairs - done < chunk && done < pairs) {
            run_tile(tile, p, done, 1, pairs - done, t->lo, t->hi);
            done = pairs;
        }
        if (cut) add_widened(t, tiles, t->sums);
    }
}

static void multiply_panels(tile16 *tile, const struct panels16 *p, int64_t chunk, struct tile_sums *t) {
    const int64_t pairs = p->pairs_apart;
    chunk -= chunk % CHUNK_UNIT;
    if (chunk >= pairs) {
        t->kind = NARROW;
        tile(p, 1, pairs, t->lo, NULL);
    } else if (chunk > 0) {
        multiply_wide(tile, p, pairs, chunk, t);
    } else {
        t->kind = FULL;
        for (int r = 0; r < p->rows; r++)
            for (int c = 0; c < p->columns; c++)
                sum_slowly((const int16_t *)p->a + r * pairs * 2 * TILE_ROWS,
                           (const int16_t *)p->b + c * pairs * 2 * TILE_COLUMNS, pairs,
                           t->sums + (r * p->columns + c) * TILE);
    }
}

/* Chunks of int8: each sum fits int32, whatever wraps on the way. */
static void multiply_bytes(tile8 *tile, const struct panels16 *p, int64_t chunk, struct tile_sums *t) {
    const int64_t pairs = p->pairs_apart;
    const int tiles = p->rows * p->columns;
    t->kind = chunk >= pairs || pairs <= 65536 ? NARROW : FULL;
    if (t->kind == NARROW) {
        tile(p, pairs, t->lo);
        return;
    }
    /* Any bytes fit int32 over 65,536 pairs. */
    chunk = chunk < 65536 ? 65536 : chunk - chunk % PAIR_UNIT;
    memset(t->sums, 0, (size_t)tiles * TILE * sizeof *t->sums);
    for (int64_t done = 0; done < pairs; done += chunk) {
        const struct panels16 later = from_pair(p, done, sizeof(int8_t));
        tile(&later, pairs - done < chunk ? pairs - done : chunk, t->lo);
        for (int i = 0; i < tiles * TILE; i++) t->sums[i] += t->lo[i];
    }
}

/* Chunks of doubles: each sum stays below 2^53, where every double is exact. */
static void multiply_doubles(tile64 *tile, const struct panels16 *p, int64_t chunk, struct tile_sums *t) {
    const int64_t pairs = p->pairs_apart;
    _Alignas(64) double part[TILE];
    t->kind = FULL;
    if (chunk < 1) chunk = 1;
    memset(t->sums, 0, TILE * sizeof *t->sums);
    for (int64_t done = 0; done < pairs; done += chunk) {
        const int64_t length = pairs - done < chunk ? pairs - done : chunk;
        const struct panels16 later = from_pair(p, done, sizeof(double));
        tile(later.a, later.b, 2 * length, part);
        for (int i = 0; i < TILE; i++) t->sums[i] += (int64_t)part[i];
    }
}

static int64_t column_offset(const int64_t *w, int64_t column) {
    return grouped(column, w[P_COLUMN_GROUP], w[P_OUT_COLUMN_GROUP], w[P_OUT_COLUMN]);
}

static void prepare_columns(const int64_t *w, int64_t batch, int64_t panel, struct columns16 *at) {
    at->first = panel * TILE_COLUMNS;
    const int64_t left = w[P_COLUMNS] - at->first, last = at->first + TILE_COLUMNS - 1, group = w[P_COLUMN_GROUP];
    at->count = left < TILE_COLUMNS ? left : TILE_COLUMNS;
    at->offset = column_offset(w, at->first);
    at->together =
        at->count == TILE_COLUMNS && w[P_OUT_COLUMN] == 1 && (last < group || at->first / group == last / group);
    if (!w[P_RESCALED]) return;
    const int16_t *eb = (const int16_t *)address(w[P_EB]) + batch * w[P_EB_BATCH];
    for (int c = 0; c < TILE_COLUMNS; c++) {
        const int64_t column = at->first + (c < at->count ? c : 0);
        const int32_t e = eb[grouped(column, group, w[P_EB_GROUP], w[P_EB_COLUMN])];
        at->exponent[c] = e - (int32_t)w[P_SHIFT];
        at->finite[c] = e == NOT_FINITE ? 0 : -1;
    }
}

static void add_bias(const int64_t *w, float *x, int64_t row, const struct columns16 *at) {
    const float *bias = (const float *)address(w[P_BIAS]) + row * w[P_BIAS_ROW];
    uint32_t bits[TILE_COLUMNS];
    for (int c = 0; c < at->count; c++) x[c] = x[c] + bias[(at->first + c) * w[P_BIAS_COLUMN]];
    memcpy(bits, x, sizeof bits);
    for (int c = 0; c < TILE_COLUMNS; c++) bits[c] = (bits[c] & 0x7fffffff) > 0x7f800000 ? NAN_BITS : bits[c];
    memcpy(x, bits, sizeof bits);
}

static int64_t row_offset(const int64_t *w, int64_t batch, int64_t row) {
    return batch * w[P_OUT_BATCH] + grouped(row, w[P_ROW_GROUP], w[P_OUT_ROW_GROUP], w[P_OUT_ROW]);
}

static void store_floats(const struct variant *variant, const int64_t *w, int64_t batch, int64_t row_panel,
                         const struct columns16 *at, const struct tile_sums *t, int tile) {
    _Alignas(64) float aside[TILE_ROWS][TILE_COLUMNS];
    const int64_t first = row_panel * TILE_ROWS;
    const int64_t count = w[P_ROWS] - first < TILE_ROWS ? w[P_ROWS] - first : TILE_ROWS;
    const int16_t *ea = (const int16_t *)address(w[P_EA]) + batch * w[P_EA_BATCH];
    const bool direct = at->together && !w[P_BIAS];
    int32_t exponents[TILE_ROWS] = {0};
    int64_t offsets[TILE_ROWS];
    float *out[TILE_ROWS], *rows = (float *)address(w[P_OUT]);
    for (int r = 0; r < TILE_ROWS; r++) out[r] = aside[r];
    for (int r = 0; r < count; r++) {
        exponents[r] = ea[grouped(first + r, w[P_ROW_GROUP], w[P_EA_GROUP], w[P_EA_ROW])];
        offsets[r] = row_offset(w, batch, first + r);
        if (direct) out[r] = rows + offsets[r] + at->offset;
    }
    if (t->kind == FULL) {
        variant->rescale64(t->sums + tile * TILE, exponents, at, out);
    } else {
        variant->rescale(t->lo + tile * TILE, t->kind == WIDE ? t->hi + tile * TILE : NULL, exponents, at, out);
    }
    if (direct) return;
    for (int r = 0; r < count; r++) {
        if (w[P_BIAS]) add_bias(w, out[r], first + r, at);
        if (at->together) {
            memcpy(rows + offsets[r] + at->offset, out[r], sizeof aside[r]);
        } else {
            for (int c = 0; c < at->count; c++) rows[offsets[r] + column_offset(w, at->first + c)] = out[r][c];
        }
    }
}

static void store_integers(const int64_t *w, int64_t batch, int64_t row_panel, const struct columns16 *at,
                           const struct tile_sums *t, int tile) {
    for (int r = 0; r < TILE_ROWS && row_panel * TILE_ROWS + r < w[P_ROWS]; r++) {
        int64_t *out = (int64_t *)address(w[P_OUT]) + row_offset(w, batch, row_panel * TILE_ROWS + r);
        for (int c = 0; c < at->count; c++) {
            const int i = tile * TILE + r * TILE_COLUMNS + c;
            const uint32_t low = (uint32_t)t->lo[i] - ((uint32_t)t->hi[i] << 16);
            out[column_offset(w, at->first + c)] = t->kind == NARROW ? t->lo[i]
                                                   : t->kind == WIDE ? (int64_t)t->hi[i] * 65536 + low
                                                                     : t->sums[i];
        }
    }
}

/* One index of the range: some panels of A by some of B. */
struct block {
    int64_t batch, row, row_end, column, column_end;
};

static struct block block_at(const int64_t *w, int64_t index, int64_t row_panels, int64_t column_panels) {
    const int64_t column_blocks = ceil_div(column_panels, w[P_COLUMN_BLOCK]);
    const int64_t blocks = ceil_div(row_panels, w[P_ROW_BLOCK]) * column_blocks, within = index % blocks;
    struct block at = {.batch = index / blocks};
    at.row = within / column_blocks * w[P_ROW_BLOCK];
    at.column = within % column_blocks * w[P_COLUMN_BLOCK];
    at.row_end = at.row + w[P_ROW_BLOCK] < row_panels ? at.row + w[P_ROW_BLOCK] : row_panels;
    at.column_end = at.column + w[P_COLUMN_BLOCK] < column_panels ? at.column + w[P_COLUMN_BLOCK] : column_panels;
    return at;
}

/* The norms of one batch's panels, or NULL. */
static const float *norms_at(const int64_t *w, int64_t word, int64_t apart, int64_t batch, int64_t panels) {
    if (!w[P_A_NORMS] || !w[P_B_NORMS]) return NULL;
    return (const float *)address(w[word]) + (apart ? batch : 0) * panels * NORMS;
}

static void multiply_block(const struct variant *variant, const int64_t *w, struct block at, const float *na,
                           const float *nb, struct tile_sums *t) {
    const int64_t pairs = w[P_PAIRS];
    const char *a = address(w[P_A] + at.batch * w[P_A_BATCH]), *b = address(w[P_B] + at.batch * w[P_B_BATCH]);
    struct columns16 columns[MOST_PANELS];
    for (int64_t c = at.column; c < at.column_end; c += variant->columns) {
        const int wide = at.column_end - c < variant->columns ? (int)(at.column_end - c) : variant->columns;
        for (int j = 0; j < wide; j++) prepare_columns(w, at.batch, c + j, &columns[j]);
        for (int64_t r = at.row; r < at.row_end; r += variant->rows) {
            const int high = at.row_end - r < variant->rows ? (int)(at.row_end - r) : variant->rows;
            int64_t chunk = INT64_MAX;
            for (int i = 0; i < high; i++)
                for (int j = 0; j < wide; j++) {
                    const int64_t own = na && variant->tile16
                                            ? orebit_chunk_pairs(pairs, w[P_PROVEN_PAIRS], na + (r + i) * NORMS,
                                                                 nb + (c + j) * NORMS)
                                            : w[P_PROVEN_PAIRS];
                    chunk = own < chunk ? own : chunk;
                }
            const int64_t row_bytes = pairs * 2 * TILE_ROWS * variant->bytes;
            const int64_t column_bytes = pairs * 2 * TILE_COLUMNS * variant->bytes;
            const struct panels16 p = {a + r * row_bytes, b + c * column_bytes, pairs, high, wide};
            if (variant->tile16 != NULL) multiply_panels(variant->tile16, &p, chunk, t);
            else if (variant->tile8 != NULL) multiply_bytes(variant->tile8, &p, chunk, t);
            else multiply_doubles(variant->tile64, &p, chunk, t);
            for (int i = 0; i < high; i++)
                for (int j = 0; j < wide; j++) {
                    if (w[P_RESCALED]) store_floats(variant, w, at.batch, r + i, &columns[j], t, i * wide + j);
                    else store_integers(w, at.batch, r + i, &columns[j], t, i * wide + j);
                }
        }
    }
}

/* Rows whose scales are held at once. */
#define STRIPE_PANELS 256

/* Whether results are rows of consecutive elements, and chunks as stripes want them. */
static bool in_stripes(const int64_t *w) {
    const int64_t chunk = w[P_PROVEN_PAIRS] - w[P_PROVEN_PAIRS] % CHUNK_UNIT;
    return w[P_OUT_COLUMN] == 1 && w[P_COLUMN_GROUP] >= w[P_COLUMNS] && w[P_ROW_GROUP] >= w[P_ROWS] && !w[P_BIAS] &&
           chunk > 0 && w[P_PAIRS] / chunk < MOST_CHUNKS;
}

/* 2^(exponent - shift) of some rows or columns, NaN where one is not finite; whether none is above 2^greatest. */
static bool scales_of(const int16_t *exponents, int64_t step, int64_t count, int64_t shift, int64_t greatest, float *into) {
    bool fit = true;
    for (int64_t i = 0; i < count; i++) {
        const int64_t e = exponents[i * step], power = e - shift;
        const uint32_t bits = e == NOT_FINITE ? NAN_BITS : (uint32_t)(power + 127) << 23;
        fit = fit && (e == NOT_FINITE || (power >= -126 && power <= greatest));
        memcpy(into + i, &bits, sizeof bits);
    }
    return fit;
}

/* Some panels of rows by one of columns; false if that is for multiply_block. */
static bool multiply_stripe(const struct variant *variant, const int64_t *w, struct block at, const float *row_scales,
                            const float *na, const float *nb) {
    const int64_t column = at.column * TILE_COLUMNS, row = at.row * TILE_ROWS, pairs = w[P_PAIRS];
    float column_scales[TILE_COLUMNS] = {0};
    struct stripe16 s = {.pairs = pairs, .proven = w[P_PROVEN_PAIRS] - w[P_PROVEN_PAIRS] % CHUNK_UNIT};
    s.columns = w[P_COLUMNS] - column < TILE_COLUMNS ? w[P_COLUMNS] - column : TILE_COLUMNS;
    s.rows = (w[P_ROWS] < at.row_end * TILE_ROWS ? w[P_ROWS] : at.row_end * TILE_ROWS) - row;
    s.a = (const char *)address(w[P_A] + at.batch * w[P_A_BATCH]) + at.row * pairs * 2 * TILE_ROWS * variant->bytes;
    s.b = (const char *)address(w[P_B] + at.batch * w[P_B_BATCH]) + at.column * pairs * 2 * TILE_COLUMNS * variant->bytes;
    const int64_t place = row_offset(w, at.batch, row) + column;
    s.row_step = w[P_OUT_ROW];
    s.out = w[P_RESCALED] ? (void *)((float *)address(w[P_OUT]) + place) : (void *)((int64_t *)address(w[P_OUT]) + place);
    if (w[P_RESCALED]) {
        const int16_t *eb = (const int16_t *)address(w[P_EB]) + at.batch * w[P_EB_BATCH] + column * w[P_EB_COLUMN];
        const int64_t shift = w[P_SHIFT] - (w[P_SHIFT] >> 1);
        if (!scales_of(eb, w[P_EB_COLUMN], s.columns, shift, GREATEST_COLUMN_SCALE, column_scales)) return false;
        s.row_scales = row_scales;
        s.column_scales = column_scales;
    }
    variant->stripe(&s, na == NULL ? NULL : na + at.row * NORMS, na == NULL ? NULL : nb + at.column * NORMS);
    return true;
}

/* A block by stripes. */
static void multiply_stripes(const struct variant *variant, const int64_t *w, struct block all, const float *na,
                             const float *nb, struct tile_sums *t) {
    float row_scales[STRIPE_PANELS * TILE_ROWS];
    for (int64_t r = all.row; r < all.row_end; r += STRIPE_PANELS) {
        struct block at = all;
        at.row = r;
        at.row_end = r + STRIPE_PANELS < all.row_end ? r + STRIPE_PANELS : all.row_end;
        const int64_t row = r * TILE_ROWS, end = at.row_end * TILE_ROWS;
        bool fit = true;
        if (w[P_RESCALED]) {
            const int16_t *ea = (const int16_t *)address(w[P_EA]) + at.batch * w[P_EA_BATCH] + row * w[P_EA_ROW];
            fit = scales_of(ea, w[P_EA_ROW], (w[P_ROWS] < end ? w[P_ROWS] : end) - row, w[P_SHIFT] >> 1, 127, row_scales);
        }
        for (int64_t c = all.column; c < all.column_end; c++) {
            at.column = c;
            at.column_end = c + 1;
            if (!fit || !multiply_stripe(variant, w, at, row_scales, na, nb)) multiply_block(variant, w, at, na, nb, t);
        }
    }
}

#if OREBIT_AMX
/* A block by `sums16`: a part of its rows and columns at a time. */
static void multiply_many(const struct variant *variant, const int64_t *w, struct block at) {
    _Alignas(64) int64_t sums[AMX_ROW_PANELS * AMX_COLUMN_PANELS * TILE];
    const int64_t pairs = w[P_PAIRS];
    const int16_t *a = address(w[P_A] + at.batch * w[P_A_BATCH]), *b = address(w[P_B] + at.batch * w[P_B_BATCH]);
    struct columns16 columns;
    struct tile_sums t = {.kind = FULL};
    for (int64_t c = at.column; c < at.column_end; c += AMX_COLUMN_PANELS)
        for (int64_t r = at.row; r < at.row_end; r += AMX_ROW_PANELS) {
            const int64_t rows = at.row_end - r, wide = at.column_end - c;
            const struct panels16 p = {a + r * pairs * 2 * TILE_ROWS, b + c * pairs * 2 * TILE_COLUMNS, pairs,
                                       rows < AMX_ROW_PANELS ? (int)rows : AMX_ROW_PANELS,
                                       wide < AMX_COLUMN_PANELS ? (int)wide : AMX_COLUMN_PANELS};
            variant->sums16(&p, sums);
            for (int j = 0; j < p.columns; j++) {
                prepare_columns(w, at.batch, c + j, &columns);
                for (int i = 0; i < p.rows; i++) {
                    memcpy(t.sums, sums + (i * p.columns + j) * TILE, TILE * sizeof *sums);
                    if (w[P_RESCALED]) store_floats(variant, w, at.batch, r + i, &columns, &t, 0);
                    else store_integers(w, at.batch, r + i, &columns, &t, 0);
                }
            }
        }
}
#endif

static void multiply(const struct variant *variant, const int64_t *w, int64_t begin, int64_t end) {
    const int64_t row_panels = ceil_div(w[P_ROWS], TILE_ROWS), column_panels = ceil_div(w[P_COLUMNS], TILE_COLUMNS);
    struct tile_sums t;
    for (int64_t index = begin; index < end; index++) {
        const struct block at = block_at(w, index, row_panels, column_panels);
#if OREBIT_AMX
        if (variant->sums16 != NULL && w[P_PAIRS] >= LEAST_PAIRS_FOR_TILES) {
            multiply_many(variant, w, at);
            continue;
        }
#endif
        const float *na = norms_at(w, P_A_NORMS, w[P_A_BATCH], at.batch, row_panels);
        const float *nb = norms_at(w, P_B_NORMS, w[P_B_BATCH], at.batch, column_panels);
        if (variant->stripe != NULL && in_stripes(w)) multiply_stripes(variant, w, at, na, nb, &t);
        else multiply_block(variant, w, at, na, nb, &t);
    }
}

#define KERNEL(NAME, SUFFIX, RESCALE, ...)                                                                         \
    OREBIT_EXPORT void orebit_##NAME##_##SUFFIX(const int64_t *args, int64_t begin, int64_t end) {                 \
        static const struct variant own = {RESCALE, __VA_ARGS__};                                                  \
        multiply(&own, args, begin, end);                                                                          \
    }

#define KERNELS(SUFFIX, RESCALE, ROWS, COLUMNS, ...)                                                               \
    KERNEL(product16, SUFFIX, RESCALE, .tile16 = orebit_tile16_##SUFFIX, .rows = ROWS, .columns = COLUMNS, .bytes = 2, \
           __VA_ARGS__)                                                                                            \
    KERNEL(product64, SUFFIX, RESCALE, .tile64 = orebit_tile64_##SUFFIX, .rows = 1, .columns = 1, .bytes = 8)

#define PORTABLE .rescale = orebit_rescale16_portable, .rescale64 = orebit_rescale64_portable
KERNELS(portable, PORTABLE, 2, 2, .stripe = NULL)
KERNEL(product8, portable, PORTABLE, .tile8 = orebit_tile8_portable, .rows = 2, .columns = 2, .bytes = 1)

#if OREBIT_X86
#define BY_AVX2 .rescale = orebit_rescale16_avx2, .rescale64 = orebit_rescale64_portable
KERNELS(avx2, BY_AVX2, 1, 1, .stripe = orebit_stripe16_avx2)

#define BY_AVX512 .rescale = orebit_rescale16_avx512vnni, .rescale64 = orebit_rescale64_avx512vnni
KERNELS(avx512vnni, BY_AVX512, 2, 2, .stripe = NULL)
KERNEL(product8, avx512vnni, BY_AVX512, .tile8 = orebit_tile8_avx512vnni, .rows = 2, .columns = 2, .bytes = 1)
#endif

#if OREBIT_AMX
KERNEL(product16, amx, BY_AVX512, .sums16 = orebit_sums16_amx, .tile16 = orebit_tile16_avx512vnni, .rows = 2,
       .columns = 2, .bytes = 2)
#endif
