/* Packing for exact products. See contraction_pack.h for what is read and where it goes. */
#include "contraction_pack.h"

#include "contraction_norms.h"
#include "contraction_quantise.h"
#include "orebit.h"
#include "product16.h"

#include <stdbool.h>
#include <string.h>

#define RUN 8 /* elements that are read together, or as many as a narrower panel has lanes */

static int64_t group_of(int64_t packed_type) {
    return packed_type == PACKED_I16 ? 2 : packed_type == PACKED_I8 ? 4 : 1;
}

static int64_t bytes_of(int64_t packed_type) {
    return packed_type == PACKED_I16 ? 2 : packed_type == PACKED_I8 ? 1 : 8;
}

static int64_t padded(int64_t depth, int64_t unit) { return (depth + unit - 1) / unit * unit; }

int64_t contraction_packed_bytes(const struct contraction_side *side, int64_t panels, int64_t depth) {
    return panels * side->panel * padded(depth, side->depth_unit) * bytes_of(side->packed_type);
}

static int64_t element(const struct contraction_side *side, int64_t at, float scale, float limit) {
    switch (side->type) {
    case TYPE_F32: return quantise_one(((const float *)side->source)[at], scale, limit);
    case TYPE_I8: return ((const int8_t *)side->source)[at];
    case TYPE_U8: return ((const uint8_t *)side->source)[at];
    case TYPE_I16: return ((const int16_t *)side->source)[at];
    case TYPE_U16: return ((const uint16_t *)side->source)[at];
    case TYPE_I32: return ((const int32_t *)side->source)[at];
    default: return ((const int64_t *)side->source)[at];
    }
}

static void store(void *panel, int64_t packed_type, int64_t at, int64_t value) {
    if (packed_type == PACKED_I16) ((int16_t *)panel)[at] = (int16_t)value;
    else if (packed_type == PACKED_I8) ((int8_t *)panel)[at] = (int8_t)value;
    else ((double *)panel)[at] = (double)value;
}

/* The lanes of one panel: where each begins and by what it is scaled; and the first lanes of its runs of consecutive
 * elements, with those that are in none. */
struct lanes {
    int64_t count, runs, singles;
    int64_t start[MAX_PANEL];
    _Alignas(32) float scale[MAX_PANEL];
    float limit;
    uint8_t run[MAX_PANEL], single[MAX_PANEL];
};

static int64_t run_length(const struct contraction_side *side) { return side->panel < RUN ? side->panel : RUN; }

static void find_lanes(const struct contraction_side *side, int64_t o, int64_t panel, struct lanes *lanes) {
    const int64_t first = panel * side->panel, left = side->lanes - first, length = run_length(side);
    lanes->count = left < side->panel ? left : side->panel;
    lanes->limit = quantise_limit(side->bits);
    for (int64_t l = 0; l < lanes->count; l++) {
        lanes->start[l] = side->outer[o] + side->lane_offsets[first + l];
        if (side->type != TYPE_F32) continue;
        const int64_t at = side->exponent_outer[o] + side->exponent_offsets[first + l];
        lanes->scale[l] = quantise_scale(side->exponents[at], side->bits);
    }
    lanes->runs = lanes->singles = 0;
    for (int64_t l = 0; l < lanes->count;) {
        const bool together = side->lane_runs != NULL && l + length <= lanes->count && side->lane_runs[first + l];
        if (together) lanes->run[lanes->runs++] = (uint8_t)l;
        else lanes->single[lanes->singles++] = (uint8_t)l;
        l += together ? length : 1;
    }
}

/* Elements one by one: lanes [l0, l1), depths [from, to) of a panel whose packed depth starts at `origin`. */
static void pack_singly(const struct contraction_side *side, const struct lanes *lanes, int64_t l0, int64_t l1,
                        int64_t from, int64_t to, int64_t origin, void *panel) {
    const int64_t group = group_of(side->packed_type), width = side->panel;
    for (int64_t l = l0; l < l1; l++) {
        for (int64_t k = from; k < to; k++) {
            const int64_t at = lanes->start[l] + side->depth_offsets[k], d = k - origin;
            const int64_t value = element(side, at, lanes->scale[l], lanes->limit);
            store(panel, side->packed_type, (d / group * width + l) * group + d % group, value);
        }
    }
}

/* Pairs that lie side by side in the source are copied. */
static void copy_pairs(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                       int64_t origin, int16_t *panel) {
    const int16_t *source = side->source;
    for (int64_t k = from; k < to; k += 2) {
        int16_t *at = panel + (k - origin) * side->panel;
        const int64_t depth = side->depth_offsets[k];
        for (int64_t run = 0; run < lanes->runs; run++) {
            const int64_t l = lanes->run[run];
            memcpy(at + 2 * l, source + lanes->start[l] + depth, 2 * RUN * sizeof *at);
        }
        for (int64_t i = 0; i < lanes->singles; i++) {
            const int64_t l = lanes->single[i];
            memcpy(at + 2 * l, source + lanes->start[l] + depth, 2 * sizeof *at);
        }
    }
}

#if OREBIT_X86
/* Eight consecutive elements as 32-bit integers. */
INLINE_AVX2 __m256i load_eight(const void *source, int64_t type, int64_t at, __m256 scale, __m256 limit) {
    switch (type) {
    case TYPE_F32: return quantise_eight(_mm256_loadu_ps((const float *)source + at), scale, limit);
    case TYPE_I8: return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)((const int8_t *)source + at)));
    case TYPE_U8: return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)((const uint8_t *)source + at)));
    case TYPE_I16: return _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)((const int16_t *)source + at)));
    case TYPE_U16: return _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)((const uint16_t *)source + at)));
    default: return _mm256_loadu_si256((const void *)((const int32_t *)source + at));
    }
}

/* Eight lanes that are consecutive elements: two depths make eight pairs without a shuffle. */
INLINE_AVX2 void eight_lanes(const void *source, int64_t type, int64_t low, int64_t high, bool both, __m256 scale,
                             __m256 limit, int16_t *to) {
    if (type == TYPE_I16) {
        const __m128i x = _mm_loadu_si128((const void *)((const int16_t *)source + low));
        const __m128i y = both ? _mm_loadu_si128((const void *)((const int16_t *)source + high)) : _mm_setzero_si128();
        _mm_storeu_si128((void *)to, _mm_unpacklo_epi16(x, y));
        _mm_storeu_si128((void *)(to + 8), _mm_unpackhi_epi16(x, y));
        return;
    }
    const __m256i x = load_eight(source, type, low, scale, limit);
    const __m256i y = both ? load_eight(source, type, high, scale, limit) : _mm256_setzero_si256();
    _mm256_storeu_si256((void *)to, _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA));
}

/* Four of them, for panels of four lanes. */
INLINE_AVX2 void four_lanes(const void *source, int64_t type, int64_t low, int64_t high, bool both, __m128 scale,
                            __m128 limit, int16_t *to) {
    __m128i x, y = _mm_setzero_si128();
    if (type == TYPE_F32) {
        const __m256 scales = _mm256_castps128_ps256(scale), limits = _mm256_castps128_ps256(limit);
        const __m256 a = _mm256_castps128_ps256(_mm_loadu_ps((const float *)source + low));
        x = _mm256_castsi256_si128(quantise_eight(a, scales, limits));
        if (both) {
            const __m256 b = _mm256_castps128_ps256(_mm_loadu_ps((const float *)source + high));
            y = _mm256_castsi256_si128(quantise_eight(b, scales, limits));
        }
    } else {
        x = _mm_cvtepi16_epi32(_mm_loadl_epi64((const void *)((const int16_t *)source + low)));
        if (both) y = _mm_cvtepi16_epi32(_mm_loadl_epi64((const void *)((const int16_t *)source + high)));
    }
    _mm_storeu_si128((void *)to, _mm_blend_epi16(x, _mm_slli_epi32(y, 16), 0xAA));
}

INLINE_AVX2 void lanes_of(const struct contraction_side *side, int64_t type, const struct lanes *lanes, int64_t from,
                          int64_t to, int64_t origin, int16_t *panel) {
    const __m256 limit = _mm256_set1_ps(lanes->limit);
    for (int64_t k = from; k < to; k += 2) {
        int16_t *at = panel + (k - origin) * side->panel;
        const int64_t low = side->depth_offsets[k];
        const bool both = k + 1 < to;
        const int64_t high = both ? side->depth_offsets[k + 1] : 0;
        for (int64_t run = 0; run < lanes->runs; run++) {
            const int64_t l = lanes->run[run], start = lanes->start[l];
            if (side->panel < RUN) {
                four_lanes(side->source, type, start + low, start + high, both, _mm_loadu_ps(lanes->scale + l),
                           _mm256_castps256_ps128(limit), at + 2 * l);
            } else {
                eight_lanes(side->source, type, start + low, start + high, both, _mm256_loadu_ps(lanes->scale + l),
                            limit, at + 2 * l);
            }
        }
    }
    for (int64_t i = 0; i < lanes->singles; i++) {
        pack_singly(side, lanes, lanes->single[i], lanes->single[i] + 1, from, to, origin, panel);
    }
}

AVX2 static void pack_by_lanes(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                               int64_t origin, int16_t *panel) {
    if (side->type == TYPE_F32) lanes_of(side, TYPE_F32, lanes, from, to, origin, panel);
    else if (side->type == TYPE_I16) lanes_of(side, TYPE_I16, lanes, from, to, origin, panel);
    else lanes_of(side, side->type, lanes, from, to, origin, panel);
}

/* Eight consecutive depths of one lane as eight 16-bit integers: four pairs. */
INLINE_AVX2 __m128i four_pairs(const struct contraction_side *side, int64_t type, const struct lanes *lanes, int64_t l,
                               int64_t k) {
    const int64_t at = lanes->start[l] + side->depth_offsets[k];
    if (type == TYPE_I16) return _mm_loadu_si128((const void *)((const int16_t *)side->source + at));
    const __m256 scale = _mm256_set1_ps(lanes->scale[l]), limit = _mm256_set1_ps(lanes->limit);
    const __m256i v = load_eight(side->source, type, at, scale, limit);
    return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* Four lanes by eight consecutive depths: a transpose of 32-bit pairs. */
INLINE_AVX2 void four_by_eight(const struct contraction_side *side, int64_t type, const struct lanes *lanes, int64_t l,
                               int64_t k, int16_t *at) {
    const __m128i a = four_pairs(side, type, lanes, l, k), b = four_pairs(side, type, lanes, l + 1, k);
    const __m128i c = four_pairs(side, type, lanes, l + 2, k), d = four_pairs(side, type, lanes, l + 3, k);
    const __m128i ab0 = _mm_unpacklo_epi32(a, b), ab1 = _mm_unpackhi_epi32(a, b);
    const __m128i cd0 = _mm_unpacklo_epi32(c, d), cd1 = _mm_unpackhi_epi32(c, d);
    const int64_t step = 2 * side->panel;
    _mm_storeu_si128((void *)at, _mm_unpacklo_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + step), _mm_unpackhi_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + 2 * step), _mm_unpacklo_epi64(ab1, cd1));
    _mm_storeu_si128((void *)(at + 3 * step), _mm_unpackhi_epi64(ab1, cd1));
}

INLINE_AVX2 void depths_of(const struct contraction_side *side, int64_t type, const struct lanes *lanes, int64_t from,
                           int64_t to, int64_t origin, int16_t *panel) {
    const int64_t whole = lanes->count / 4 * 4;
    for (int64_t k = from; k < to;) {
        const bool run = k + RUN <= to && side->depth_runs[k];
        const int64_t end = run ? k + RUN : k + 2 < to ? k + 2 : to;
        if (run) {
            int16_t *at = panel + (k - origin) * side->panel;
            for (int64_t l = 0; l < whole; l += 4) four_by_eight(side, type, lanes, l, k, at + 2 * l);
        }
        if (!run || whole < lanes->count) {
            pack_singly(side, lanes, run ? whole : 0, lanes->count, k, end, origin, panel);
        }
        k = end;
    }
}

AVX2 static void pack_by_depth(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                               int64_t origin, int16_t *panel) {
    if (side->type == TYPE_F32) depths_of(side, TYPE_F32, lanes, from, to, origin, panel);
    else if (side->type == TYPE_I16) depths_of(side, TYPE_I16, lanes, from, to, origin, panel);
    else depths_of(side, side->type, lanes, from, to, origin, panel);
}

/* 16-bit pairs by vectors; false where neither lanes nor depths are consecutive. */
static bool pack_vectors(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                         int64_t origin, int16_t *panel) {
    if (side->packed_type != PACKED_I16 || side->type == TYPE_I64) return false;
    if (side->depth_runs != NULL) {
        pack_by_depth(side, lanes, from, to, origin, panel);
        return true;
    }
    const bool four = side->panel < RUN && side->type != TYPE_F32 && side->type != TYPE_I16;
    if (side->lane_runs == NULL || side->panel % 4 != 0 || four) return false;
    pack_by_lanes(side, lanes, from, to, origin, panel);
    return true;
}
#endif

#if OREBIT_X86
/* A panel of 16 lanes in two runs of pairs that lie side by side, copied whole, with its norms. */
AVX2 static void copy_panel(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                            int16_t *panel, float *norms) {
    const int16_t *left = (const int16_t *)side->source + lanes->start[0];
    const int16_t *right = (const int16_t *)side->source + lanes->start[RUN];
    struct norm_vectors found = no_norms();
    struct norm_sums a = no_sums(), b = no_sums();
    const int64_t pairs = (to - from) / 2;
    __m256i *at = (__m256i *)panel;
    for (int64_t block = 0; block * BLOCK_PAIRS < pairs; block++) {
        const int64_t end = (block + 1) * BLOCK_PAIRS < pairs ? (block + 1) * BLOCK_PAIRS : pairs;
        __m256i x = _mm256_setzero_si256(), y = x;
        for (int64_t p = block * BLOCK_PAIRS; p < end; p++, at += 2) {
            const int64_t depth = side->depth_offsets[from + 2 * p];
            const __m256i l = _mm256_loadu_si256((const void *)(left + depth));
            const __m256i r = _mm256_loadu_si256((const void *)(right + depth));
            _mm256_storeu_si256(at, l);
            _mm256_storeu_si256(at + 1, r);
            x = _mm256_add_epi32(x, norm_squares(l));
            y = _mm256_add_epi32(y, norm_squares(r));
        }
        join_block(&found, &a, x, block);
        join_block(&found, &b, y, block);
    }
    found.best[BLOCKS] = _mm256_max_ps(a.total, b.total);
    float most[NORMS];
    greatest(&found, most);
    contraction_norms_of(most, padded(to - from, side->depth_unit) / 2, norms);
}
#endif

/* Whether panels are copied whole: pairs side by side in the source, lanes in two runs of eight. */
static bool copies(const struct contraction_side *side, const struct lanes *lanes) {
#if OREBIT_X86
    return side->paired && side->panel == 2 * RUN && lanes->runs == 2 && lanes->run[1] == RUN &&
           __builtin_cpu_supports("avx2");
#else
    (void)side;
    (void)lanes;
    return false;
#endif
}

/* Panels are packed together, a strip of depth at a time, so that a row of the source is read in long runs. */
#define PANELS_TOGETHER 8
#define DEPTH_STRIP 32

static void pack_strip(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                       int64_t origin, void *panel) {
    if (side->paired && side->panel >= RUN) {
        copy_pairs(side, lanes, from, to, origin, panel);
        return;
    }
#if OREBIT_X86
    if (__builtin_cpu_supports("avx2") && pack_vectors(side, lanes, from, to, origin, panel)) return;
#endif
    pack_singly(side, lanes, 0, lanes->count, from, to, origin, panel);
}

/* Zeros where no element goes: whole panels that lack lanes, and the end of the depth. */
static void clear(const struct contraction_side *side, const struct lanes *lanes, int64_t depth, char *panel) {
    const int64_t group = group_of(side->packed_type), row = side->panel * bytes_of(side->packed_type);
    const int64_t bytes = contraction_packed_bytes(side, 1, depth), filled = depth / group * group * row;
    if (lanes->count < side->panel) memset(panel, 0, (size_t)bytes);
    else memset(panel + filled, 0, (size_t)(bytes - filled));
}

static void pack_together(const struct contraction_side *side, int64_t o, int64_t first, int64_t count, int64_t from,
                          int64_t to, char *packed, float *norms) {
    struct lanes lanes[PANELS_TOGETHER];
    bool copied[PANELS_TOGETHER];
    const int64_t bytes = contraction_packed_bytes(side, 1, to - from);
    for (int64_t p = 0; p < count; p++) {
        find_lanes(side, o, first + p, &lanes[p]);
        clear(side, &lanes[p], to - from, packed + p * bytes);
        copied[p] = copies(side, &lanes[p]);
#if OREBIT_X86
        if (copied[p]) copy_panel(side, &lanes[p], from, to, (int16_t *)(packed + p * bytes), norms + p * NORMS);
#endif
    }
    for (int64_t k = from; k < to; k += DEPTH_STRIP) {
        const int64_t end = k + DEPTH_STRIP < to ? k + DEPTH_STRIP : to;
        for (int64_t p = 0; p < count; p++) {
            if (!copied[p]) pack_strip(side, &lanes[p], k, end, from, packed + p * bytes);
        }
    }
    if (side->packed_type != PACKED_I16) return;
    const int64_t pairs = padded(to - from, side->depth_unit) / 2;
    for (int64_t p = 0; p < count; p++) {
        if (copied[p]) continue;
        contraction_norms((const int16_t *)(packed + p * bytes), side->panel, pairs, norms + p * NORMS);
    }
}

void contraction_pack(const struct contraction_side *side, int64_t o, int64_t first, int64_t last, int64_t from,
                      int64_t to, void *packed, float *norms) {
    const int64_t bytes = contraction_packed_bytes(side, 1, to - from);
    for (int64_t p = first; p < last; p += PANELS_TOGETHER) {
        const int64_t count = last - p < PANELS_TOGETHER ? last - p : PANELS_TOGETHER;
        pack_together(side, o, p, count, from, to, (char *)packed + (p - first) * bytes, norms + (p - first) * NORMS);
    }
}
