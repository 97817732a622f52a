/* The fast ways of contraction_pack.c for AVX2: by lanes, by depth, and whole panels of pairs. */

/* Floats that are surely within the limit, and finite. */
#define TYPE_TAME_F32 (-1)

/* Eight consecutive elements as 32-bit integers. */
INLINE_AVX2 __m256i load_eight(const void *source, int64_t type, int64_t at, __m256 scale, __m256 limit) {
    switch (type) {
    case TYPE_TAME_F32: return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps((const float *)source + at), scale));
    case TYPE_F32: return quantise_eight(_mm256_loadu_ps((const float *)source + at), scale, limit);
    case TYPE_I8: return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)((const int8_t *)source + at)));
    case TYPE_U8: return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)((const uint8_t *)source + at)));
    case TYPE_I16: return _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)((const int16_t *)source + at)));
    case TYPE_U16: return _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)((const uint16_t *)source + at)));
    default: return _mm256_loadu_si256((const void *)((const int32_t *)source + at));
    }
}

/* Eight lanes that are consecutive elements and go to one panel, or four each to two panels of four. */
struct run_of_lanes {
    int64_t start;
    const float *scale, *next_scale; /* of the first four and of the others */
    int16_t *to, *next;              /* likewise */
    bool tame;
};

/* How depth pairs of a run are placed. */
INLINE_AVX2 void place_pair(__m256i pairs, const struct run_of_lanes *run, int64_t at) {
    _mm_storeu_si128((void *)(run->to + at), _mm256_castsi256_si128(pairs));
    _mm_storeu_si128((void *)(run->next + at), _mm256_extracti128_si256(pairs, 1));
}

/* Eight lanes by eight depths: lines of the source and of the panels are used up at once. */
INLINE_AVX2 void eight_by_eight(const struct contraction_side *side, int64_t type, const struct run_of_lanes *run,
                                __m256 scale, __m256 limit, const int32_t *depths, int64_t at) {
    __m256i pairs[4];
    for (int i = 0; i < 4; i++) {
        const int64_t low = run->start + depths[2 * i], high = run->start + depths[2 * i + 1];
        if (type == TYPE_I16) {
            const __m128i x = _mm_loadu_si128((const void *)((const int16_t *)side->source + low));
            const __m128i y = _mm_loadu_si128((const void *)((const int16_t *)side->source + high));
            pairs[i] = _mm256_set_m128i(_mm_unpackhi_epi16(x, y), _mm_unpacklo_epi16(x, y));
        } else {
            const __m256i x = load_eight(side->source, type, low, scale, limit);
            const __m256i y = load_eight(side->source, type, high, scale, limit);
            pairs[i] = _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA);
        }
    }
    if (side->panel >= RUN) {
        for (int i = 0; i < 4; i++) _mm256_storeu_si256((void *)(run->to + at + 2 * i * side->panel), pairs[i]);
        return;
    }
    for (int i = 0; i < 4; i += 2) {
        const __m256i own = _mm256_permute2x128_si256(pairs[i], pairs[i + 1], 0x20);
        const __m256i other = _mm256_permute2x128_si256(pairs[i], pairs[i + 1], 0x31);
        _mm256_storeu_si256((void *)(run->to + at + 8 * i), own);
        _mm256_storeu_si256((void *)(run->next + at + 8 * i), other);
    }
}

/* Depths that are left over: two at a time, or one and a zero. */
INLINE_AVX2 void eight_by_two(const struct contraction_side *side, int64_t type, const struct run_of_lanes *run,
                              __m256 scale, __m256 limit, const int32_t *depths, bool both, int64_t at) {
    const __m256i x = load_eight(side->source, type, run->start + depths[0], scale, limit);
    __m256i y = _mm256_setzero_si256();
    if (both) y = load_eight(side->source, type, run->start + depths[1], scale, limit);
    place_pair(_mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA), run, at);
}

/* The rows of the next eight depths, each on a page of its own, which no processor foresees. */
INLINE_AVX2 void fetch_ahead(const struct contraction_side *side, int64_t type, int64_t start, const int32_t *depths) {
    const int64_t size = type_bytes(type == TYPE_TAME_F32 ? TYPE_F32 : type);
    for (int i = 0; i < RUN; i++) _mm_prefetch((const char *)side->source + (start + depths[i]) * size, _MM_HINT_T0);
}

/* Runs side by side, a few depths at a time: rows of the source are read in long runs. */
INLINE_AVX2 void pack_runs(const struct contraction_side *side, int64_t type, const struct run_of_lanes *runs,
                           int64_t count, __m256 limit, int64_t from, int64_t to) {
    for (int64_t k = from; k < to;) {
        const int64_t step = k + RUN <= to ? RUN : 2;
        for (const struct run_of_lanes *run = runs; run < runs + count; run++) {
            __m256 scale = _mm256_setzero_ps();
            if (type == TYPE_F32 || type == TYPE_TAME_F32)
                scale = _mm256_set_m128(_mm_loadu_ps(run->next_scale), _mm_loadu_ps(run->scale));
            const int32_t *depths = side->depth_offsets + k;
            const int64_t at = (k - from) * side->panel;
            if (k + 2 * RUN <= to) fetch_ahead(side, type, run->start, depths + RUN);
            if (step == RUN) eight_by_eight(side, type, run, scale, limit, depths, at);
            else eight_by_two(side, type, run, scale, limit, depths, k + 1 < to, at);
        }
        k += step;
    }
}

/* Whether two panels of four lanes are eight consecutive elements. */
static bool adjoin(const struct lanes *a, const struct lanes *b) {
    return a->runs == 1 && b->runs == 1 && a->singles == 0 && b->singles == 0 && b->start[0] == a->start[0] + 4;
}

/* The runs of some panels: those of eight lanes, and panels of four lanes that adjoin. `taken` marks what they cover. */
static int64_t find_runs(const struct contraction_side *side, const struct lanes *lanes, int64_t count, char *packed,
                         int64_t bytes, struct run_of_lanes *runs, bool *taken) {
    int64_t found = 0;
    for (int64_t p = 0; p < count; p++) {
        int16_t *to = (int16_t *)(packed + p * bytes);
        taken[p] = side->panel >= RUN;
        for (int64_t i = 0; taken[p] && i < lanes[p].runs; i++) {
            const int64_t l = lanes[p].run[i];
            const float *scale = lanes[p].scale + l;
            runs[found++] = (struct run_of_lanes){lanes[p].start[l], scale, scale + 4, to + 2 * l, to + 2 * l + 8,
                                                  lanes[p].tame};
        }
        if (taken[p] || p + 1 == count || !adjoin(&lanes[p], &lanes[p + 1])) continue;
        runs[found++] = (struct run_of_lanes){lanes[p].start[0], lanes[p].scale, lanes[p + 1].scale, to,
                                              (int16_t *)((char *)to + bytes), lanes[p].tame && lanes[p + 1].tame};
        taken[p] = taken[p + 1] = true;
        p++;
    }
    return found;
}

AVX2 static void pack_by_lanes(const struct contraction_side *side, const struct lanes *lanes, int64_t count,
                               int64_t from, int64_t to, char *packed, int64_t bytes) {
    struct run_of_lanes runs[2 * PANELS_TOGETHER];
    bool taken[PANELS_TOGETHER], tame = true;
    const __m256 limit = _mm256_set1_ps(lanes->limit);
    const int64_t found = find_runs(side, lanes, count, packed, bytes, runs, taken);
    for (int64_t i = 0; i < found; i++) tame = tame && runs[i].tame;
    if (side->type == TYPE_F32 && tame) pack_runs(side, TYPE_TAME_F32, runs, found, limit, from, to);
    else if (side->type == TYPE_F32) pack_runs(side, TYPE_F32, runs, found, limit, from, to);
    else if (side->type == TYPE_I16) pack_runs(side, TYPE_I16, runs, found, limit, from, to);
    else pack_runs(side, side->type, runs, found, limit, from, to);
    for (int64_t p = 0; p < count; p++) {
        void *panel = packed + p * bytes;
        if (!taken[p]) pack_singly(side, &lanes[p], 0, lanes[p].count, from, to, from, panel);
        for (int64_t i = 0; taken[p] && i < lanes[p].singles; i++) {
            const int64_t l = lanes[p].single[i];
            pack_singly(side, &lanes[p], l, l + 1, from, to, from, panel);
        }
    }
}

/* Sixteen consecutive depths of one lane as 16-bit integers: pairs 0, 1, 4, 5 in the low half, the others in the high. */
INLINE_AVX2 __m256i eight_pairs(const void *source, int64_t type, int64_t at, __m256 scale, __m256 limit) {
    if (type == TYPE_I16) {
        const __m256i v = _mm256_loadu_si256((const void *)((const int16_t *)source + at));
        return _mm256_permute4x64_epi64(v, 0xd8);
    }
    const __m256i v = load_eight(source, type, at, scale, limit);
    return _mm256_packs_epi32(v, load_eight(source, type, at + 8, scale, limit));
}

/* Four lanes by sixteen consecutive depths: a transpose of 32-bit pairs. */
INLINE_AVX2 void four_by_sixteen(const void *source, int64_t type, const int64_t *start, int64_t depth,
                                 const __m256 *scale, __m256 limit, int64_t panel, int16_t *at) {
    const __m256i a = eight_pairs(source, type, start[0] + depth, scale[0], limit);
    const __m256i b = eight_pairs(source, type, start[1] + depth, scale[1], limit);
    const __m256i c = eight_pairs(source, type, start[2] + depth, scale[2], limit);
    const __m256i d = eight_pairs(source, type, start[3] + depth, scale[3], limit);
    const __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
    const __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
    const __m256i two[4] = {_mm256_unpacklo_epi64(ab0, cd0), _mm256_unpackhi_epi64(ab0, cd0),
                            _mm256_unpacklo_epi64(ab1, cd1), _mm256_unpackhi_epi64(ab1, cd1)};
    for (int i = 0; i < 4; i += 2) { /* pairs 2i and 2i + 1, and the two behind them */
        if (panel == 4) {
            _mm256_storeu_si256((void *)(at + 16 * i), _mm256_permute2x128_si256(two[i], two[i + 1], 0x20));
            _mm256_storeu_si256((void *)(at + 16 * i + 16), _mm256_permute2x128_si256(two[i], two[i + 1], 0x31));
            continue;
        }
        for (int j = 0; j < 2; j++) {
            int16_t *to = at + 2 * (2 * i + j) * panel;
            _mm_storeu_si128((void *)to, _mm256_castsi256_si128(two[i + j]));
            _mm_storeu_si128((void *)(to + 4 * panel), _mm256_extracti128_si256(two[i + j], 1));
        }
    }
}

/* Four lanes by eight consecutive depths. */
INLINE_AVX2 void four_by_eight(const void *source, int64_t type, const int64_t *start, int64_t depth,
                               const __m256 *scale, __m256 limit, int64_t panel, int16_t *at) {
    __m128i lane[4];
    for (int i = 0; i < 4; i++) {
        if (type == TYPE_I16) {
            lane[i] = _mm_loadu_si128((const void *)((const int16_t *)source + start[i] + depth));
            continue;
        }
        const __m256i v = load_eight(source, type, start[i] + depth, scale[i], limit);
        lane[i] = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    }
    const __m128i ab0 = _mm_unpacklo_epi32(lane[0], lane[1]), ab1 = _mm_unpackhi_epi32(lane[0], lane[1]);
    const __m128i cd0 = _mm_unpacklo_epi32(lane[2], lane[3]), cd1 = _mm_unpackhi_epi32(lane[2], lane[3]);
    _mm_storeu_si128((void *)at, _mm_unpacklo_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + 2 * panel), _mm_unpackhi_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(at + 4 * panel), _mm_unpacklo_epi64(ab1, cd1));
    _mm_storeu_si128((void *)(at + 6 * panel), _mm_unpackhi_epi64(ab1, cd1));
}

/* Lanes l .. l + 3, so that few rows of the source are read at a time. */
INLINE_AVX2 void four_by_depths(const struct contraction_side *side, int64_t type, const struct lanes *lanes, int64_t l,
                                int64_t from, int64_t to, int64_t origin, int16_t *panel) {
    const __m256 limit = _mm256_set1_ps(lanes->limit);
    __m256 scale[4];
    for (int i = 0; i < 4; i++) scale[i] = _mm256_set1_ps(side->type == TYPE_F32 ? lanes->scale[l + i] : 0);
    for (int64_t k = from; k < to;) {
        const bool run = k + RUN <= to && side->depth_runs[k];
        const bool two = run && k + 2 * RUN <= to && side->depth_runs[k + RUN] &&
                         side->depth_offsets[k + RUN] == side->depth_offsets[k] + RUN;
        const int64_t end = two ? k + 2 * RUN : run ? k + RUN : k + 2 < to ? k + 2 : to;
        int16_t *at = panel + (k - origin) * side->panel + 2 * l;
        if (two) {
            four_by_sixteen(side->source, type, lanes->start + l, side->depth_offsets[k], scale, limit, side->panel, at);
        } else if (run) {
            four_by_eight(side->source, type, lanes->start + l, side->depth_offsets[k], scale, limit, side->panel, at);
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
        if (side->type == TYPE_F32 && lanes->tame) four_by_depths(side, TYPE_TAME_F32, lanes, l, from, to, origin, panel);
        else if (side->type == TYPE_F32) four_by_depths(side, TYPE_F32, lanes, l, from, to, origin, panel);
        else if (side->type == TYPE_I16) four_by_depths(side, TYPE_I16, lanes, l, from, to, origin, panel);
        else four_by_depths(side, side->type, lanes, l, from, to, origin, panel);
    }
    pack_singly(side, lanes, whole, lanes->count, from, to, origin, panel);
}

/* A panel of floats that lie anywhere. */
AVX2 static void pack_gathered(const struct contraction_side *side, const struct lanes *lanes, int64_t from, int64_t to,
                               int16_t *panel) {
    const __m256 limit = _mm256_set1_ps(lanes->limit), zero = _mm256_setzero_ps();
    const float *source = side->source;
    for (int64_t l = 0; l < lanes->count; l += RUN) {
        const __m256i left = _mm256_set1_epi32((int)(lanes->count - l));
        const __m256i mask = _mm256_cmpgt_epi32(left, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        const __m256 some = _mm256_castsi256_ps(mask), scale = _mm256_maskload_ps(lanes->scale + l, mask);
        int32_t first[RUN] = {0};
        for (int64_t i = 0; i < RUN && l + i < lanes->count; i++) first[i] = (int32_t)lanes->start[l + i];
        const __m256i start = _mm256_loadu_si256((const void *)first);
        for (int64_t k = from; k < to; k += 2) {
            const float *low = source + side->depth_offsets[k];
            const __m256i x = quantise_eight(_mm256_mask_i32gather_ps(zero, low, start, some, 4), scale, limit);
            __m256i y = _mm256_setzero_si256();
            if (k + 1 < to) {
                const float *high = source + side->depth_offsets[k + 1];
                y = quantise_eight(_mm256_mask_i32gather_ps(zero, high, start, some, 4), scale, limit);
            }
            const __m256i pairs = _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA);
            int16_t *at = panel + (k - from) * side->panel + 2 * l;
            if (side->panel >= RUN) _mm256_storeu_si256((void *)at, pairs);
            else _mm_storeu_si128((void *)at, _mm256_castsi256_si128(pairs));
        }
    }
}

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
