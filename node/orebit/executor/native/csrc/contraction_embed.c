/* Embedding: a tensor's rows placed apart, or inside a margin, in a buffer of fill; quantised on the way if f32. */
#include "contraction_quantise.h"
#include "orebit.h"

#include <stdbool.h>
#include <string.h>

/* Elements of a row that are held at once between reading and placing them. */
#define PIECE 256

/* The buffer is blocks of `block` elements. Rows [blocks[b], blocks[b + 1]) go to block b: row r holds source row
 * first[r] and, beside it, second[r] (-1: none), elements from .. from + count - 1 of each. Element j stands at position
 * p = start + step * j of the row, which lies at place[r] + p / phases * unit + p % phases * phase_step, second[r]'s one
 * behind it. Every field is one 64-bit word. */
struct embedding {
    const void *source;
    int64_t type;
    void *target;
    int64_t target_type;
    int64_t block;
    const int64_t *blocks;
    const int32_t *place, *first, *second;
    const int16_t *exponents; /* of row r's sources at exponents[first_exponents[r]] and the second's; f32 only */
    const int32_t *first_exponents, *second_exponents;
    int64_t bits;
    int64_t extent; /* of a source row */
    int64_t from, count, start, step;
    int64_t phases, phase_step, unit;
    int64_t room; /* whether the place behind the last element is of the same row */
    int64_t fill;
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

static int64_t position(const struct embedding *e, int64_t j) {
    const int64_t p = e->start + e->step * j;
    if (e->phases == 1) return p * e->unit;
    return p / e->phases * e->unit + p % e->phases * e->phase_step;
}

/* A part of a source row, or zeros for none, into `into`. */
static void read_piece(const struct embedding *e, int64_t row, int64_t exponent, int64_t j, int64_t count,
                       int32_t *into) {
    if (row < 0) {
        memset(into, 0, (size_t)count * sizeof *into);
        return;
    }
    const int64_t at = row * e->extent + e->from + j;
    if (e->type != TYPE_F32) {
        for (int64_t i = 0; i < count; i++) into[i] = (int32_t)get(e->source, e->type, at + i);
        return;
    }
    const float *source = (const float *)e->source + at;
    const float scale = quantise_scale(e->exponents[exponent], e->bits), limit = quantise_limit(e->bits);
    for (int64_t i = 0; i < count; i++) into[i] = quantise_one(source[i], scale, limit);
}

#if OREBIT_X86
/* Eight digits of each of two rows to where they stand: 16-bit neighbours, paired or not, in one phase or two. */
INLINE_AVX2 void place_eight(const struct embedding *e, __m256i x, __m256i y, int16_t *first, int16_t *second) {
    const __m256i apart = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m128i gather = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 0, 1, 4, 5, 8, 9, 12, 13);
    __m256i both = _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA);
    if (e->phases == 2) both = _mm256_permutevar8x32_epi32(both, apart);
    const __m128i low = _mm256_castsi256_si128(both), high = _mm256_extracti128_si256(both, 1);
    if (e->unit == 2) {
        _mm_storeu_si128((void *)first, low);
        _mm_storeu_si128((void *)second, high);
    } else {
        _mm_storel_epi64((void *)first, _mm_shuffle_epi8(low, gather));
        _mm_storel_epi64((void *)second, _mm_shuffle_epi8(high, gather));
    }
}

/* Eight pairs of digits with a pair of zeros behind each. */
INLINE_AVX2 void place_apart(__m256i x, __m256i y, int16_t *to) {
    const __m256i both = _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA);
    _mm256_storeu_si256((void *)to, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(both)));
    _mm256_storeu_si256((void *)(to + 16), _mm256_cvtepu32_epi64(_mm256_extracti128_si256(both, 1)));
}

/* Whole eights of a row of floats, quantised on the way; how many elements were placed. */
AVX2 static int64_t embed_floats(const struct embedding *e, int64_t r, int16_t *row) {
    if (e->type != TYPE_F32 || e->target_type != TYPE_I16 || e->first[r] < 0) return 0;
    const bool doubled = e->step == 2 && e->phases == 1 && e->unit == 2 && e->fill == 0 && e->room;
    if (!doubled && (e->step != 1 || e->phases > 2)) return 0;
    const bool paired = e->unit == 2 && e->second[r] >= 0;
    const float *a = (const float *)e->source + e->first[r] * e->extent + e->from;
    const float *b = paired ? (const float *)e->source + e->second[r] * e->extent + e->from : a;
    const __m256 limit = _mm256_set1_ps(quantise_limit(e->bits));
    const __m256 scale = _mm256_set1_ps(quantise_scale(e->exponents[e->first_exponents[r]], e->bits));
    __m256 second_scale = _mm256_setzero_ps();
    if (paired) second_scale = _mm256_set1_ps(quantise_scale(e->exponents[e->second_exponents[r]], e->bits));
    const int64_t ahead = 8 / e->phases * e->unit;
    int16_t *first = row + position(e, 0), *second = e->phases == 2 ? row + position(e, 1) : first + ahead / 2;
    int64_t j = 0;
    for (; j + 8 <= e->count; j += 8, first += ahead, second += ahead) {
        const __m256i x = quantise_eight(_mm256_loadu_ps(a + j), scale, limit);
        const __m256i y = paired ? quantise_eight(_mm256_loadu_ps(b + j), second_scale, limit) : _mm256_setzero_si256();
        if (doubled) place_apart(x, y, row + position(e, j));
        else place_eight(e, x, y, first, second);
    }
    return j;
}
#endif

static void embed_row(const struct embedding *e, int64_t r) {
    int32_t a[PIECE], b[PIECE];
    const int64_t size = type_bytes(e->target_type);
    void *row = (char *)e->target + e->place[r] * size;
    const bool paired = e->unit == 2;
    int64_t done = 0;
#if OREBIT_X86
    if (__builtin_cpu_supports("avx2")) done = embed_floats(e, r, row);
#endif
    for (int64_t j = done; j < e->count; j += PIECE) {
        const int64_t count = e->count - j < PIECE ? e->count - j : PIECE;
        const bool floats = e->type == TYPE_F32;
        read_piece(e, e->first[r], floats ? e->first_exponents[r] : 0, j, count, a);
        if (paired) read_piece(e, e->second[r], floats ? e->second_exponents[r] : 0, j, count, b);
        for (int64_t i = 0; i < count; i++) {
            const int64_t at = position(e, j + i);
            put(row, e->target_type, at, a[i]);
            if (paired) put(row, e->target_type, at + 1, b[i]);
        }
    }
}

/* The range is the blocks. */
OREBIT_EXPORT void orebit_contraction_embed(const int64_t *args, int64_t begin, int64_t end) {
    const struct embedding *e = (const void *)args;
    const int64_t size = type_bytes(e->target_type);
    for (int64_t block = begin; block < end; block++) {
        if (e->fill == 0) memset((char *)e->target + block * e->block * size, 0, (size_t)(e->block * size));
        else for (int64_t i = 0; i < e->block; i++) put(e->target, e->target_type, block * e->block + i, e->fill);
        for (int64_t r = e->blocks[block]; r < e->blocks[block + 1]; r++) embed_row(e, r);
    }
}
