/* Packing for exact products. See contraction_pack.h for what is read and where it goes. */
#include "contraction_pack.h"

#include "contraction_quantise.h"
#include "orebit.h"
#include "product16.h"

#include <string.h>

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

/* The lanes of one panel: where each begins and by what it is scaled; lanes beyond the last repeat it, unused. */
struct lanes {
    int64_t count;
    int64_t start[MAX_PANEL];
    _Alignas(32) float scale[MAX_PANEL];
    float limit;
};

static void find_lanes(const struct contraction_side *side, int64_t o, int64_t panel, struct lanes *lanes) {
    const int64_t first = panel * side->panel, left = side->lanes - first;
    lanes->count = left < side->panel ? left : side->panel;
    lanes->limit = quantise_limit(side->bits);
    for (int64_t l = 0; l < lanes->count; l++) {
        lanes->start[l] = side->outer[o] + side->lane_offsets[first + l];
        if (side->type != TYPE_F32) continue;
        const int64_t at = side->exponent_outer[o] + side->exponent_offsets[first + l];
        lanes->scale[l] = quantise_scale(side->exponents[at], side->bits);
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

#if OREBIT_X86
/* Eight consecutive elements as 32-bit integers. */
AVX2 static inline __m256i load_eight(const struct contraction_side *side, int64_t at, __m256 scale, __m256 limit) {
    switch (side->type) {
    case TYPE_F32: return quantise_eight(_mm256_loadu_ps((const float *)side->source + at), scale, limit);
    case TYPE_I8: return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)((const int8_t *)side->source + at)));
    case TYPE_U8: return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)((const uint8_t *)side->source + at)));
    case TYPE_I16: return _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)((const int16_t *)side->source + at)));
    case TYPE_U16: return _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)((const uint16_t *)side->source + at)));
    default: return _mm256_loadu_si256((const void *)((const int32_t *)side->source + at));
    }
}

/* Eight lanes that are consecutive elements: two depths make eight pairs without a shuffle. */
AVX2 static inline void pack_lanes_eight(const struct contraction_side *side, const struct lanes *lanes, int64_t l,
                                         int64_t k, int64_t to, int16_t *at) {
    const __m256 scale = _mm256_loadu_ps(lanes->scale + l), limit = _mm256_set1_ps(lanes->limit);
    const int64_t start = lanes->start[l];
    const __m256i low = load_eight(side, start + side->depth_offsets[k], scale, limit);
    __m256i high = _mm256_setzero_si256();
    if (k + 1 < to) high = load_eight(side, start + side->depth_offsets[k + 1], scale, limit);
    _mm256_storeu_si256((void *)(at + 2 * l), _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA));
}

AVX2 static void pack_by_lanes(const struct contraction_side *side, const struct lanes *lanes, int64_t first,
                               int64_t from, int64_t to, int64_t origin, int16_t *panel) {
    for (int64_t k = from; k < to; k += 2) {
        int16_t *at = panel + (k - origin) * side->panel;
        int64_t l = 0;
        while (l < lanes->count) {
            if (l + 8 <= lanes->count && side->lane_runs[first + l]) {
                pack_lanes_eight(side, lanes, l, k, to, at);
                l += 8;
            } else {
                pack_singly(side, lanes, l, l + 1, k, k + 2 < to ? k + 2 : to, origin, panel);
                l += 1;
            }
        }
    }
}

/* Eight consecutive depths of one lane as eight 16-bit integers: four pairs. */
AVX2 static inline __m128i four_pairs(const struct contraction_side *side, const struct lanes *lanes, int64_t l,
                                      int64_t k) {
    const int64_t at = lanes->start[l] + side->depth_offsets[k];
    if (side->type == TYPE_I16) return _mm_loadu_si128((const void *)((const int16_t *)side->source + at));
    const __m256 scale = _mm256_set1_ps(lanes->scale[l]), limit = _mm256_set1_ps(lanes->limit);
    const __m256i v = load_eight(side, at, scale, limit);
    return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* Four lanes by eight consecutive depths: a transpose of 32-bit pairs. */
AVX2 static void pack_depth_four(const struct contraction_side *side, const struct lanes *lanes, int64_t l, int64_t k,
                                 int64_t origin, int16_t *panel) {
    const __m128i a = four_pairs(side, lanes, l, k), b = four_pairs(side, lanes, l + 1, k);
    const __m128i c = four_pairs(side, lanes, l + 2, k), d = four_pairs(side, lanes, l + 3, k);
    const __m128i ab0 = _mm_unpacklo_epi32(a, b), ab1 = _mm_unpackhi_epi32(a, b);
    const __m128i cd0 = _mm_unpacklo_epi32(c, d), cd1 = _mm_unpackhi_epi32(c, d);
    const int64_t step = 2 * side->panel;
    int16_t *at = panel + ((k - origin) / 2 * side->panel + l) * 2;
    _mm_storeu_si128((void *)at, _mm_unpacklo_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + step), _mm_unpackhi_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + 2 * step), _mm_unpacklo_epi64(ab1, cd1));
    _mm_storeu_si128((void *)(at + 3 * step), _mm_unpackhi_epi64(ab1, cd1));
}

AVX2 static void pack_by_depth(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                               int64_t origin, int16_t *panel) {
    const int64_t whole = lanes->count / 4 * 4;
    int64_t k = from;
    while (k < to) {
        if (k + 8 <= to && side->depth_runs[k]) {
            for (int64_t l = 0; l < whole; l += 4) pack_depth_four(side, lanes, l, k, origin, panel);
            pack_singly(side, lanes, whole, lanes->count, k, k + 8, origin, panel);
            k += 8;
        } else {
            const int64_t end = k + 2 < to ? k + 2 : to;
            pack_singly(side, lanes, 0, lanes->count, k, end, origin, panel);
            k = end;
        }
    }
}

/* 16-bit pairs by vectors; false where neither lanes nor depths are consecutive. */
AVX2 static int pack_vectors(const struct contraction_side *side, const struct lanes *lanes, int64_t first,
                             int64_t from, int64_t to, int64_t origin, int16_t *panel) {
    if (side->packed_type != PACKED_I16 || side->type == TYPE_I64) return 0;
    if (side->depth_runs != NULL) {
        pack_by_depth(side, lanes, from, to, origin, panel);
        return 1;
    }
    if (side->lane_runs == NULL) return 0;
    pack_by_lanes(side, lanes, first, from, to, origin, panel);
    return 1;
}
#endif

/* Panels are packed together, a strip of depth at a time, so that a row of the source is read in long runs. */
#define PANELS_TOGETHER 8
#define DEPTH_STRIP 32

static void pack_strip(const struct contraction_side *side, const struct lanes *lanes, int64_t first, int64_t from,
                       int64_t to, int64_t origin, void *panel) {
#if OREBIT_X86
    if (__builtin_cpu_supports("avx2") && pack_vectors(side, lanes, first, from, to, origin, panel)) return;
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
    const int64_t bytes = contraction_packed_bytes(side, 1, to - from);
    for (int64_t p = 0; p < count; p++) {
        find_lanes(side, o, first + p, &lanes[p]);
        clear(side, &lanes[p], to - from, packed + p * bytes);
    }
    for (int64_t k = from; k < to; k += DEPTH_STRIP) {
        const int64_t end = k + DEPTH_STRIP < to ? k + DEPTH_STRIP : to;
        for (int64_t p = 0; p < count; p++) {
            pack_strip(side, &lanes[p], (first + p) * side->panel, k, end, from, packed + p * bytes);
        }
    }
    if (side->packed_type != PACKED_I16) return;
    const int64_t pairs = padded(to - from, side->depth_unit) / 2;
    for (int64_t p = 0; p < count; p++) {
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
