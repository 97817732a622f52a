/* Packs operands into panels (product16.h), of int16, int8 or double, quantising floats on the way, and measures
 * the exponents of groups.
 *
 * An exponent is e = max(((m + (1 << (24 - bits))) >> 23) - 126, -100) with m the largest |x| of the group as bits, a
 * digit q = round_half_even(x * 2^(bits - 1 - e)), 0 where e = 129 (docs/numerics.md). */
#include "product16.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#if OREBIT_X86
#include <immintrin.h>
#endif

#define EXPONENT_FLOOR (-100)
#define STRIP 64 /* rows of a view whose rows are contiguous that are packed together */

enum source_type { FROM_FLOAT, FROM_INT32, FROM_INT16, FROM_INT8 };
enum target_type { TO_INT16, TO_INT8, TO_DOUBLE };

/* Rows [first, first + count) of one batch, with what quantising them takes. */
struct strip {
    const char *source; /* of the first row */
    int64_t count, k, row, column;
    float scale[STRIP];
    uint32_t finite[STRIP]; /* all ones, or 0 where the group's exponent is NOT_FINITE */
};

static int16_t exponent_of(uint32_t m, int64_t bits) {
    if (m > NAN_BITS) m = NAN_BITS;
    const int32_t e = (int32_t)((m + (UINT32_C(1) << (24 - bits))) >> 23) - 126;
    return (int16_t)(e > EXPONENT_FLOOR ? e : EXPONENT_FLOOR);
}

static uint32_t magnitude(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

static int16_t digit(enum source_type type, const char *at, float scale, uint32_t finite) {
    if (type == FROM_INT16) return *(const int16_t *)at;
    if (type == FROM_INT8) return *(const int8_t *)at;
    return finite ? (int16_t)lrintf(*(const float *)at * scale) : 0;
}

static int64_t width(enum source_type type) { return type <= FROM_INT32 ? 4 : type == FROM_INT16 ? 2 : 1; }

/* As `digit`, up to 22 bits. The product is exact; adding 1.5 * 2^52 leaves no room for a fraction. */
static double wide_digit(enum source_type type, const char *at, float scale, uint32_t finite) {
    if (type == FROM_INT32) return *(const int32_t *)at;
    if (type != FROM_FLOAT) return digit(type, at, scale, finite);
    const double scaled = (double)*(const float *)at * scale;
    return finite ? (scaled + 6755399441055744.0) - 6755399441055744.0 : 0.0;
}

/* Panels of int8, [panel][group][row][4]: any strides. */
static void pack_bytes(const struct strip *s, enum source_type type, int8_t *out, int64_t k_padded, int64_t tile) {
    const int64_t size = width(type);
    for (int64_t r0 = 0; r0 < s->count; r0 += tile) {
        int8_t *panel = out + r0 * k_padded;
        const int64_t rows = s->count - r0 < tile ? s->count - r0 : tile;
        memset(panel, 0, (size_t)(k_padded * tile));
        for (int64_t r = 0; r < rows; r++) {
            const char *from = s->source + (r0 + r) * s->row * size;
            for (int64_t k = 0; k < s->k; k++)
                panel[(k / 4 * tile + r) * 4 + k % 4] =
                    (int8_t)digit(type, from + k * s->column * size, s->scale[r0 + r], s->finite[r0 + r]);
        }
    }
}

/* Panels of doubles, [panel][k][row]: any strides. */
static void pack_doubles(const struct strip *s, enum source_type type, double *out, int64_t k_padded, int64_t tile) {
    const int64_t size = width(type);
    for (int64_t r0 = 0; r0 < s->count; r0 += tile) {
        double *panel = out + r0 * k_padded;
        const int64_t rows = s->count - r0 < tile ? s->count - r0 : tile;
        memset(panel, 0, (size_t)(k_padded * tile) * sizeof *panel);
        for (int64_t r = 0; r < rows; r++) {
            const char *from = s->source + (r0 + r) * s->row * size;
            const float scale = s->scale[r0 + r];
            const uint32_t finite = s->finite[r0 + r];
            for (int64_t k = 0; k < s->k; k++)
                panel[k * tile + r] = wide_digit(type, from + k * s->column * size, scale, finite);
        }
    }
}

/* Any strides; panels side by side, `pairs` pairs each. */
static void pack_any(const struct strip *s, enum source_type type, int16_t *out, int64_t pairs, int64_t tile) {
    const int64_t size = width(type);
    for (int64_t r = 0; r < ceil_div(s->count, tile) * tile; r++) {
        int16_t *to = out + r / tile * pairs * 2 * tile + r % tile * 2;
        for (int64_t k = 0; k < 2 * pairs; k++) {
            const bool inside = r < s->count && k < s->k;
            const char *at = s->source + (r * s->row + k * s->column) * size;
            to[k / 2 * 2 * tile + k % 2] = inside ? digit(type, at, s->scale[r], s->finite[r]) : 0;
        }
    }
}

static void largest_any(const struct strip *s, uint32_t *m) {
    for (int64_t r = 0; r < s->count; r++) {
        m[r] = 0;
        for (int64_t k = 0; k < s->k; k++) {
            const uint32_t x = magnitude(((const float *)s->source)[r * s->row + k * s->column]);
            m[r] = x > m[r] ? x : m[r];
        }
    }
}

#if OREBIT_X86
#include "pack16_avx2.h"
#endif

/* Upper bounds: a float sum of n terms is off by less than n 2^-24 of it, and n is below 2^16 within each of two levels. */
static void norms_of(const int16_t *panel, int64_t pairs, int64_t tile, float *norms) {
    float most[NORMS] = {0};
    for (int64_t r = 0; r < tile; r++) {
        float total = 0, wide = 0, middle = 0;
        for (int64_t p0 = 0; p0 < pairs; p0 += 8) {
            float block = 0;
            for (int64_t p = p0; p < p0 + 8; p++) {
                const float x = panel[(p * tile + r) * 2], y = panel[(p * tile + r) * 2 + 1];
                block += x * x + y * y;
            }
            if (p0 % 16 == 0) middle = 0;
            if (p0 % 32 == 0) wide = 0;
            middle += block;
            wide += block;
            total += block;
            most[0] = block > most[0] ? block : most[0];
            most[1] = middle > most[1] ? middle : most[1];
            most[2] = wide > most[2] ? wide : most[2];
        }
        most[3] = total > most[3] ? total : most[3];
    }
    for (int i = 0; i < NORMS; i++) norms[i] = most[i] * 1.01f;
    /* Beyond this the bound on rounding above does not hold; such a row never fits one chunk anyway. */
    if (pairs > 65536) norms[3] = HUGE_VALF;
}

static void pack_strip(const struct strip *s, enum source_type type, int16_t *out, int64_t pairs, int64_t tile,
                       bool fast) {
#if OREBIT_X86
    if (fast && s->column == 1) {
        pack_along_k(s, type, out, pairs, tile);
        return;
    }
    if (fast && s->row == 1) {
        pack_across_k(s, type, out, pairs, tile);
        return;
    }
#endif
    (void)fast;
    pack_any(s, type, out, pairs, tile);
}

static void largest(const struct strip *s, uint32_t *m, bool fast) {
#if OREBIT_X86
    if (fast && s->column == 1) {
        largest_along_k(s, m);
        return;
    }
    if (fast && s->row == 1) {
        largest_across_k(s, m);
        return;
    }
#endif
    (void)fast;
    largest_any(s, m);
}

/* The exponents of the strip's rows, measured or read, become scales. */
static void prepare(const int64_t *w, struct strip *s, int64_t batch, int64_t first, bool fast) {
    int16_t *exponents = (int16_t *)address(w[K_EXPONENTS]) + batch * w[K_EXPONENTS_BATCH];
    uint32_t m[STRIP];
    if (w[K_MEASURE]) largest(s, m, fast);
    memset(s->scale, 0, sizeof s->scale);
    memset(s->finite, 0, sizeof s->finite);
    for (int64_t i = 0; i < s->count; i++) {
        const int64_t row = first + i;
        int16_t *e = exponents + row / w[K_GROUP] * w[K_EXPONENTS_GROUP] + row % w[K_GROUP] * w[K_EXPONENTS_ROW];
        if (w[K_MEASURE]) *e = exponent_of(m[i], w[K_BITS]);
        const uint32_t power = (uint32_t)(w[K_BITS] - 1 - *e + 127) << 23;
        memcpy(&s->scale[i], &power, sizeof power);
        s->finite[i] = *e == NOT_FINITE ? 0 : UINT32_MAX;
    }
}

static void pack(const int64_t *w, int64_t begin, int64_t end, enum source_type type, bool fast,
                 enum target_type target) {
    const int64_t tile = w[K_TILE], panels = ceil_div(w[K_ROWS], tile);
    const int64_t pairs = ceil_div(w[K_K], 2 * PAIR_UNIT) * PAIR_UNIT, size = pairs * 2 * tile;
    /* Rows side by side are packed together, so that each cache line is read once; others panel by panel. */
    const int64_t together = w[K_ROW] == 1 || tile == TILE_ROWS ? (w[K_ROW] == 1 ? STRIP : 16) / tile : 1;
    struct strip s;
    for (int64_t index = begin; index < end;) {
        const int64_t batch = index / panels, panel = index % panels, first = panel * tile;
        int64_t count = panels - panel < together ? panels - panel : together;
        if (count > end - index) count = end - index;
        const int64_t rows = w[K_ROWS] - first;
        s.count = rows < count * tile ? rows : count * tile;
        s.k = w[K_K];
        s.row = w[K_ROW];
        s.column = w[K_COLUMN];
        s.source = (const char *)address(w[K_SOURCE]) + (batch * w[K_BATCH] + first * s.row) * width(type);
        if (type == FROM_FLOAT) prepare(w, &s, batch, first, fast);
        char *batch_out = (char *)address(w[K_TARGET]) + batch * w[K_TARGET_BATCH];
        index += count;
        if (target == TO_DOUBLE) {
            pack_doubles(&s, type, (double *)batch_out + panel * size, 2 * pairs, tile);
            continue;
        }
        if (target == TO_INT8) {
            pack_bytes(&s, type, (int8_t *)batch_out + panel * size, 2 * pairs, tile);
            continue;
        }
        int16_t *out = (int16_t *)batch_out + panel * size;
        pack_strip(&s, type, out, pairs, tile, fast);
        if (w[K_NORMS]) {
            float *norms = (float *)address(w[K_NORMS]) + (batch * panels + panel) * NORMS;
            for (int64_t i = 0; i < count; i++) {
#if OREBIT_X86
                if (fast) {
                    norms_fast(out + i * size, pairs, tile, norms + i * NORMS);
                    continue;
                }
#endif
                norms_of(out + i * size, pairs, tile, norms + i * NORMS);
            }
        }
    }
}

/* The norms of panels that are packed already. Words: panels, pairs, tile, norms. Range: panels. */
static void norms(const int64_t *w, int64_t begin, int64_t end, bool fast) {
    const int64_t size = w[1] * 2 * w[2];
    for (int64_t i = begin; i < end; i++) {
        const int16_t *panel = (const int16_t *)address(w[0]) + i * size;
        float *out = (float *)address(w[3]) + i * NORMS;
#if OREBIT_X86
        if (fast) {
            norms_fast(panel, w[1], w[2], out);
            continue;
        }
#endif
        (void)fast;
        norms_of(panel, w[1], w[2], out);
    }
}

static void exponents(const int64_t *w, int64_t begin, int64_t end, bool fast) {
    for (int64_t first = begin; first < end;) {
        const int64_t count = end - first < STRIP ? end - first : STRIP;
        uint32_t most[STRIP] = {0}, m[STRIP];
        for (int64_t outer = 0; outer < w[X_OUTER]; outer++) {
            for (int64_t inner = 0; inner < w[X_INNER]; inner++) {
                const int64_t at = first * w[X_ROW] + outer * w[X_OUTER_STRIDE] + inner * w[X_INNER_STRIDE];
                const struct strip s = {
                    .source = (const char *)((const float *)address(w[X_SOURCE]) + at),
                    .count = count,
                    .k = w[X_K],
                    .row = w[X_ROW],
                    .column = w[X_COLUMN],
                };
                largest(&s, m, fast);
                for (int64_t i = 0; i < count; i++) most[i] = m[i] > most[i] ? m[i] : most[i];
            }
        }
        for (int64_t i = 0; i < count; i++)
            ((int16_t *)address(w[X_OUT]))[(first + i) * w[X_OUT_ROW]] = exponent_of(most[i], w[X_BITS]);
        first += count;
    }
}

#define PACK(NAME, SUFFIX, TYPE, FAST, TARGET)                                                                     \
    OREBIT_EXPORT void orebit_##NAME##_##SUFFIX(const int64_t *args, int64_t begin, int64_t end) {                 \
        pack(args, begin, end, TYPE, FAST, TARGET);                                                                \
    }

#define KERNELS(SUFFIX, FAST)                                                                                      \
    PACK(pack16_f32, SUFFIX, FROM_FLOAT, FAST, TO_INT16)                                                           \
    PACK(pack16_i16, SUFFIX, FROM_INT16, FAST, TO_INT16)                                                           \
    PACK(pack16_i8, SUFFIX, FROM_INT8, FAST, TO_INT16)                                                             \
    PACK(pack8_f32, SUFFIX, FROM_FLOAT, FAST, TO_INT8)                                                             \
    PACK(pack8_i8, SUFFIX, FROM_INT8, FAST, TO_INT8)                                                               \
    PACK(pack64_f32, SUFFIX, FROM_FLOAT, FAST, TO_DOUBLE)                                                          \
    PACK(pack64_i32, SUFFIX, FROM_INT32, FAST, TO_DOUBLE)                                                          \
    PACK(pack64_i16, SUFFIX, FROM_INT16, FAST, TO_DOUBLE)                                                          \
    PACK(pack64_i8, SUFFIX, FROM_INT8, FAST, TO_DOUBLE)                                                            \
    OREBIT_EXPORT void orebit_norms16_##SUFFIX(const int64_t *args, int64_t begin, int64_t end) {                  \
        norms(args, begin, end, FAST);                                                                             \
    }                                                                                                              \
    OREBIT_EXPORT void orebit_exponents_f32_##SUFFIX(const int64_t *args, int64_t begin, int64_t end) {            \
        exponents(args, begin, end, FAST);                                                                         \
    }

KERNELS(portable, false)
#if OREBIT_X86
KERNELS(avx2, true)
#endif
