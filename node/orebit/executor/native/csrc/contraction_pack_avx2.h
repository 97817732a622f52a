/* The fast ways of contraction_pack.c for AVX2: by lanes, by depth, and whole panels of pairs. */

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
