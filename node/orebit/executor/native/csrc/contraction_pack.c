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

/* Four of them, or eight for two panels of four lanes. */
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

INLINE_AVX2 void eight_lanes_of_two(const void *source, int64_t type, int64_t low, int64_t high, bool both,
                                    __m256 scale, __m256 limit, int16_t *to, int16_t *next) {
    const __m256i x = load_eight(source, type, low, scale, limit);
    const __m256i y = both ? load_eight(source, type, high, scale, limit) : _mm256_setzero_si256();
    const __m256i pairs = _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA);
    _mm_storeu_si128((void *)to, _mm256_castsi256_si128(pairs));
    _mm_storeu_si128((void *)next, _mm256_extracti128_si256(pairs, 1));
}

/* Whether two panels of four lanes are eight consecutive elements. */
static bool adjoin(const struct lanes *a, const struct lanes *b) {
    return a->runs == 1 && b->runs == 1 && a->singles == 0 && b->singles == 0 && b->start[0] == a->start[0] + 4;
}

/* The runs of all panels at depths k and k + 1. */
INLINE_AVX2 void lanes_at(const struct contraction_side *side, int64_t type, const struct lanes *lanes, int64_t count,
                          int64_t k, bool both, char *at, int64_t bytes) {
    const __m256 limit = _mm256_set1_ps(lanes->limit);
    const int64_t low = side->depth_offsets[k], high = side->depth_offsets[k + both];
    for (int64_t p = 0; p < count; p++, at += bytes) {
        int16_t *to = (int16_t *)at;
        if (side->panel >= RUN) {
            for (int64_t run = 0; run < lanes[p].runs; run++) {
                const int64_t l = lanes[p].run[run], start = lanes[p].start[l];
                eight_lanes(side->source, type, start + low, start + high, both, _mm256_loadu_ps(lanes[p].scale + l),
                            limit, to + 2 * l);
            }
        } else if (p + 1 < count && adjoin(&lanes[p], &lanes[p + 1])) {
            const int64_t start = lanes[p].start[0];
            const __m128 scale = _mm_loadu_ps(lanes[p].scale), next = _mm_loadu_ps(lanes[p + 1].scale);
            eight_lanes_of_two(side->source, type, start + low, start + high, both,
                               _mm256_insertf128_ps(_mm256_castps128_ps256(scale), next, 1), limit, to,
                               (int16_t *)(at + bytes));
            p++;
            at += bytes;
        } else if (lanes[p].runs > 0) {
            const int64_t start = lanes[p].start[0];
            four_lanes(side->source, type, start + low, start + high, both, _mm_loadu_ps(lanes[p].scale),
                       _mm256_castps256_ps128(limit), to);
        }
    }
}

/* Panels side by side, two depths at a time: rows of the source are read in long runs. */
AVX2 static void pack_by_lanes(const struct contraction_side *side, const struct lanes *lanes, int64_t count,
                               int64_t from, int64_t to, char *packed, int64_t bytes) {
    for (int64_t k = from; k < to; k += 2) {
        char *at = packed + (k - from) * side->panel * (int64_t)sizeof(int16_t);
        const bool both = k + 1 < to;
        if (side->type == TYPE_F32) lanes_at(side, TYPE_F32, lanes, count, k, both, at, bytes);
        else if (side->type == TYPE_I16) lanes_at(side, TYPE_I16, lanes, count, k, both, at, bytes);
        else lanes_at(side, side->type, lanes, count, k, both, at, bytes);
    }
    for (int64_t p = 0; p < count; p++) {
        for (int64_t i = 0; i < lanes[p].singles; i++) {
            const int64_t l = lanes[p].single[i];
            pack_singly(side, &lanes[p], l, l + 1, from, to, from, packed + p * bytes);
        }
    }
}

/* Eight consecutive depths of one lane as eight 16-bit integers: four pairs. */
INLINE_AVX2 __m128i four_pairs(const void *source, int64_t type, int64_t at, __m256 scale, __m256 limit) {
    if (type == TYPE_I16) return _mm_loadu_si128((const void *)((const int16_t *)source + at));
    const __m256i v = load_eight(source, type, at, scale, limit);
    return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* Four lanes by eight consecutive depths: a transpose of 32-bit pairs. */
INLINE_AVX2 void four_by_eight(const void *source, int64_t type, const int64_t *start, int64_t depth,
                               const __m256 *scale, __m256 limit, int64_t step, int16_t *at) {
    const __m128i a = four_pairs(source, type, start[0] + depth, scale[0], limit);
    const __m128i b = four_pairs(source, type, start[1] + depth, scale[1], limit);
    const __m128i c = four_pairs(source, type, start[2] + depth, scale[2], limit);
    const __m128i d = four_pairs(source, type, start[3] + depth, scale[3], limit);
    const __m128i ab0 = _mm_unpacklo_epi32(a, b), ab1 = _mm_unpackhi_epi32(a, b);
    const __m128i cd0 = _mm_unpacklo_epi32(c, d), cd1 = _mm_unpackhi_epi32(c, d);
    _mm_storeu_si128((void *)at, _mm_unpacklo_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + step), _mm_unpackhi_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + 2 * step), _mm_unpacklo_epi64(ab1, cd1));
    _mm_storeu_si128((void *)(at + 3 * step), _mm_unpackhi_epi64(ab1, cd1));
}

/* Lanes l .. l + 3, so that few rows of the source are read at a time. */
INLINE_AVX2 void four_by_depths(const struct contraction_side *side, int64_t type, const struct lanes *lanes, int64_t l,
                                int64_t from, int64_t to, int64_t origin, int16_t *panel) {
    const __m256 limit = _mm256_set1_ps(lanes->limit);
    __m256 scale[4];
    for (int i = 0; i < 4; i++) scale[i] = _mm256_set1_ps(type == TYPE_F32 ? lanes->scale[l + i] : 0);
    for (int64_t k = from; k < to;) {
        const bool run = k + RUN <= to && side->depth_runs[k];
        const int64_t end = run ? k + RUN : k + 2 < to ? k + 2 : to;
        if (run) {
            four_by_eight(side->source, type, lanes->start + l, side->depth_offsets[k], scale, limit, 2 * side->panel,
                          panel + (k - origin) * side->panel + 2 * l);
        } else {
            pack_singly(side, lanes, l, l + 4, k, end, origin, panel);
        }
        k = end;
    }
}

AVX2 static void pack_by_depth(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                               int64_t origin, int16_t *panel) {
    const int64_t whole = lanes->count / 4 * 4;
    for (int64_t l = 0; l < whole; l += 4) {
        if (side->type == TYPE_F32) four_by_depths(side, TYPE_F32, lanes, l, from, to, origin, panel);
        else if (side->type == TYPE_I16) four_by_depths(side, TYPE_I16, lanes, l, from, to, origin, panel);
        else four_by_depths(side, side->type, lanes, l, from, to, origin, panel);
    }
    pack_singly(side, lanes, whole, lanes->count, from, to, origin, panel);
}

#endif

/* How the panels of a side are read. */
enum way { SINGLY, BY_PAIRS, BY_DEPTH, BY_LANES };

static enum way way_of(const struct contraction_side *side) {
    if (side->paired && side->panel >= RUN) return BY_PAIRS;
#if OREBIT_X86
    if (side->packed_type != PACKED_I16 || side->type == TYPE_I64 || !__builtin_cpu_supports("avx2")) return SINGLY;
    if (side->depth_runs != NULL) return BY_DEPTH;
    const bool loads = side->panel >= RUN || side->type == TYPE_F32 || side->type == TYPE_I16;
    if (side->lane_runs != NULL && side->panel % 4 == 0 && loads) return BY_LANES;
#endif
    return SINGLY;
}

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

/* Panels are packed together, so that a row of the source is read in long runs; no more than a cache has ways, since
 * panels often lie a power of two apart. */
#define PANELS_TOGETHER 8
#define DEPTH_STRIP 256
/* A multiple of every unit of depth. */
#define BYTE_STRIP 512

/* Zeros where no element goes: whole panels that lack lanes, and the end of the depth. */
static void clear(const struct contraction_side *side, const struct lanes *lanes, int64_t depth, char *panel) {
    const int64_t group = group_of(side->packed_type), row = side->panel * bytes_of(side->packed_type);
    const int64_t bytes = contraction_packed_bytes(side, 1, depth), filled = depth / group * group * row;
    if (lanes->count < side->panel) memset(panel, 0, (size_t)bytes);
    else memset(panel + filled, 0, (size_t)(bytes - filled));
}

/* One panel by itself; whether its norms were found on the way. */
static bool pack_panel(const struct contraction_side *side, enum way way, const struct lanes *lanes, int64_t from,
                       int64_t to, void *panel, float *norms) {
    if (way == SINGLY) {
        pack_singly(side, lanes, 0, lanes->count, from, to, from, panel);
        return false;
    }
#if OREBIT_X86
    if (copies(side, lanes)) {
        copy_panel(side, lanes, from, to, panel, norms);
        return true;
    }
    for (int64_t k = from; way == BY_DEPTH && k < to; k += DEPTH_STRIP) {
        pack_by_depth(side, lanes, k, k + DEPTH_STRIP < to ? k + DEPTH_STRIP : to, from, panel);
    }
#else
    (void)norms;
#endif
    if (way == BY_PAIRS) copy_pairs(side, lanes, from, to, from, panel);
    return false;
}

static void pack_together(const struct contraction_side *side, enum way way, int64_t o, int64_t first, int64_t count,
                          int64_t from, int64_t to, char *packed, float *norms) {
    struct lanes lanes[PANELS_TOGETHER];
    const int64_t bytes = contraction_packed_bytes(side, 1, to - from);
    const int64_t pairs = padded(to - from, side->depth_unit) / 2;
    for (int64_t p = 0; p < count; p++) {
        find_lanes(side, o, first + p, &lanes[p]);
        clear(side, &lanes[p], to - from, packed + p * bytes);
    }
#if OREBIT_X86
    if (way == BY_LANES && count > 0) pack_by_lanes(side, lanes, count, from, to, packed, bytes);
#endif
    for (int64_t p = 0; p < count; p++) {
        char *panel = packed + p * bytes;
        if (way != BY_LANES && pack_panel(side, way, &lanes[p], from, to, panel, norms + p * NORMS)) continue;
        if (side->packed_type != PACKED_I16) continue;
        contraction_norms((const int16_t *)panel, side->panel, pairs, norms + p * NORMS);
    }
}

static void pack_directly(const struct contraction_side *side, int64_t o, int64_t first, int64_t last, int64_t from,
                          int64_t to, char *packed, float *norms) {
    const int64_t bytes = contraction_packed_bytes(side, 1, to - from);
    for (int64_t p = first; p < last; p += PANELS_TOGETHER) {
        const int64_t count = last - p < PANELS_TOGETHER ? last - p : PANELS_TOGETHER, done = p - first;
        pack_together(side, way_of(side), o, p, count, from, to, packed + done * bytes, norms + done * NORMS);
    }
}

/* Two pairs of each lane, in 16 bits, become four bytes. */
static void squeeze_singly(const int16_t *wide, int64_t lanes, int64_t depth, int8_t *out) {
    for (int64_t k = 0; k < depth; k += 4, wide += 4 * lanes, out += 4 * lanes) {
        for (int64_t l = 0; l < lanes; l++) {
            for (int64_t i = 0; i < 4; i++) out[4 * l + i] = (int8_t)wide[i / 2 * 2 * lanes + 2 * l + i % 2];
        }
    }
}

#if OREBIT_X86
AVX2 static void squeeze_avx2(const int16_t *wide, int64_t lanes, int64_t depth, int8_t *out) {
    const __m128i order = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    for (int64_t k = 0; k < depth; k += 4, wide += 4 * lanes, out += 4 * lanes) {
        for (int64_t l = 0; l < lanes; l += 4) {
            const __m128i a = _mm_loadu_si128((const void *)(wide + 2 * l));
            const __m128i b = _mm_loadu_si128((const void *)(wide + 2 * lanes + 2 * l));
            _mm_storeu_si128((void *)(out + 4 * l), _mm_shuffle_epi8(_mm_packs_epi16(a, b), order));
        }
    }
}
#endif

/* Bytes are packed as 16-bit numbers, a strip at a time, and squeezed. */
static void pack_bytes(const struct contraction_side *side, int64_t o, int64_t first, int64_t last, int64_t from,
                       int64_t to, int8_t *packed) {
    struct contraction_side wide = *side;
    _Alignas(64) int16_t strip[BYTE_STRIP * MAX_PANEL];
    float norms[NORMS];
    wide.packed_type = PACKED_I16;
    for (int64_t p = first; p < last; p++) {
        for (int64_t k = from; k < to; k += BYTE_STRIP) {
            const int64_t end = k + BYTE_STRIP < to ? k + BYTE_STRIP : to, depth = padded(end - k, side->depth_unit);
            pack_directly(&wide, o, p, p + 1, k, end, (char *)strip, norms);
#if OREBIT_X86
            if (side->panel % 4 == 0 && __builtin_cpu_supports("avx2")) squeeze_avx2(strip, side->panel, depth, packed);
            else squeeze_singly(strip, side->panel, depth, packed);
#else
            squeeze_singly(strip, side->panel, depth, packed);
#endif
            packed += depth * side->panel;
        }
    }
}

void contraction_pack(const struct contraction_side *side, int64_t o, int64_t first, int64_t last, int64_t from,
                      int64_t to, void *packed, float *norms) {
    if (side->packed_type == PACKED_I8) pack_bytes(side, o, first, last, from, to, packed);
    else pack_directly(side, o, first, last, from, to, packed, norms);
}
