/* Embedding: a tensor's rows placed apart, or inside a margin, in a buffer of fill; quantised on the way if f32. */
#include "contraction_quantise.h"
#include "orebit.h"

#include <string.h>

/* Destination row r holds source row rows[r] (-1: fill alone), whose elements first .. first + count - 1 stand at
 * start + step * j. Every field is one 64-bit word. */
struct embedding {
    const void *source;
    int64_t type;
    void *target;
    int64_t target_type;
    const int64_t *rows;
    int64_t source_extent, target_extent;
    int64_t first, count, start, step;
    int64_t fill;
    const int16_t *exponents; /* of source row s at exponents[exponent_rows[s]]; f32 only */
    const int32_t *exponent_rows;
    int64_t bits;
};

static void put(void *target, int64_t type, int64_t at, int64_t value) {
    switch (type) {
    case TYPE_I8:
    case TYPE_U8: ((uint8_t *)target)[at] = (uint8_t)value; break;
    case TYPE_I16:
    case TYPE_U16: ((uint16_t *)target)[at] = (uint16_t)value; break;
    case TYPE_I32: ((uint32_t *)target)[at] = (uint32_t)value; break;
    default: ((int64_t *)target)[at] = value;
    }
}

static int64_t get(const void *source, int64_t type, int64_t at) {
    switch (type) {
    case TYPE_I8: return ((const int8_t *)source)[at];
    case TYPE_U8: return ((const uint8_t *)source)[at];
    case TYPE_I16: return ((const int16_t *)source)[at];
    case TYPE_U16: return ((const uint16_t *)source)[at];
    case TYPE_I32: return ((const int32_t *)source)[at];
    default: return ((const int64_t *)source)[at];
    }
}

static void quantise_row(const struct embedding *e, int64_t from, float scale, int64_t to) {
    const float *source = (const float *)e->source + from;
    const float limit = quantise_limit(e->bits);
    int64_t j = 0;
#if OREBIT_X86
    if (e->step == 1 && e->target_type == TYPE_I16 && __builtin_cpu_supports("avx2")) {
        j = quantise_run_i16(source, e->count, scale, limit, (int16_t *)e->target + to);
    }
#endif
    for (; j < e->count; j++) put(e->target, e->target_type, to + j * e->step, quantise_one(source[j], scale, limit));
}

static void copy_row(const struct embedding *e, int64_t from, int64_t to) {
    for (int64_t j = 0; j < e->count; j++) {
        put(e->target, e->target_type, to + j * e->step, get(e->source, e->type, from + j));
    }
}

static void fill_row(const struct embedding *e, int64_t to, int64_t count) {
    if (e->fill == 0) {
        const int64_t size = type_bytes(e->target_type);
        memset((char *)e->target + to * size, 0, (size_t)(count * size));
        return;
    }
    for (int64_t i = 0; i < count; i++) put(e->target, e->target_type, to + i, e->fill);
}

/* The range is the target's rows. */
OREBIT_EXPORT void orebit_contraction_embed(const int64_t *args, int64_t begin, int64_t end) {
    const struct embedding *e = (const void *)args;
    for (int64_t r = begin; r < end; r++) {
        const int64_t to = r * e->target_extent, row = e->rows[r];
        fill_row(e, to, e->target_extent);
        if (row < 0 || e->count == 0) continue;
        const int64_t from = row * e->source_extent + e->first;
        if (e->type == TYPE_F32) {
            const float scale = quantise_scale(e->exponents[e->exponent_rows[row]], e->bits);
            quantise_row(e, from, scale, to + e->start);
        } else {
            copy_row(e, from, to + e->start);
        }
    }
}
