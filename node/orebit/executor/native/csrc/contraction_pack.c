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
    bool tame; /* floats are surely finite and within the limit */
    uint8_t run[MAX_PANEL], single[MAX_PANEL];
};

static int64_t run_length(const struct contraction_side *side) { return side->panel < RUN ? side->panel : RUN; }

static void find_lanes(const struct contraction_side *side, int64_t o, int64_t panel, struct lanes *lanes) {
    const int64_t first = panel * side->panel, left = side->lanes - first, length = run_length(side);
    lanes->count = left < side->panel ? left : side->panel;
    lanes->limit = quantise_limit(side->bits);
    lanes->tame = side->tame;
    for (int64_t l = 0; l < lanes->count; l++) {
        lanes->start[l] = side->outer[o] + side->lane_offsets[first + l];
        if (side->type != TYPE_F32) continue;
        const int64_t at = side->exponent_outer[o] + side->exponent_offsets[first + l];
        lanes->scale[l] = quantise_scale(side->exponents[at], side->bits);
        lanes->tame = lanes->tame && lanes->scale[l] != 0;
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

/* Panels are packed together, so that a row of the source is read in long runs; no more than a cache has ways, since
 * panels often lie a power of two apart. */
#define PANELS_TOGETHER 8

#if OREBIT_X86
#include "contraction_pack_avx2.h"
#endif

/* How the panels of a side are read. */
enum way { SINGLY, GATHERED, BY_PAIRS, BY_DEPTH, BY_LANES };

static enum way way_of(const struct contraction_side *side) {
    if (side->paired && side->panel >= RUN) return BY_PAIRS;
#if OREBIT_X86
    if (side->packed_type != PACKED_I16 || side->type == TYPE_I64 || !__builtin_cpu_supports("avx2")) return SINGLY;
    if (side->depth_runs != NULL) return BY_DEPTH;
    const bool loads = side->panel >= RUN || side->type == TYPE_F32 || side->type == TYPE_I16;
    if (side->lane_runs != NULL && side->panel % 4 == 0 && loads) return BY_LANES;
    if (side->type == TYPE_F32 && side->panel % 4 == 0) return GATHERED;
#endif
    return SINGLY;
}

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
    if (way == GATHERED) {
        pack_gathered(side, lanes, from, to, panel);
        return false;
    }
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
