/* The fast paths of pack16.c for AVX2: contiguous along k (transposes in registers) or across it (interleaves). */

#define INLINE_AVX2 static inline __attribute__((always_inline, target("avx2")))

/* Sixteen consecutive values as int16. */
INLINE_AVX2 __m256i sixteen(enum source_type type, const char *at, __m256 scale, __m256i finite) {
    if (type == FROM_INT16) return _mm256_loadu_si256((const __m256i *)at);
    if (type == FROM_INT8) return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)at));
    const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps((const float *)at), scale));
    const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps((const float *)at + 8), scale));
    return _mm256_and_si256(_mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8), finite);
}

/* Four rows of 8 pairs each become 8 pairs of four rows each: out[p] holds pair p. */
INLINE_AVX2 void four_by_eight(const __m256i *rows, __m256i *low, __m256i *high) {
    const __m256i a = _mm256_unpacklo_epi32(rows[0], rows[1]), b = _mm256_unpackhi_epi32(rows[0], rows[1]);
    const __m256i c = _mm256_unpacklo_epi32(rows[2], rows[3]), d = _mm256_unpackhi_epi32(rows[2], rows[3]);
    const __m256i p0 = _mm256_unpacklo_epi64(a, c), p1 = _mm256_unpackhi_epi64(a, c);
    const __m256i p2 = _mm256_unpacklo_epi64(b, d), p3 = _mm256_unpackhi_epi64(b, d);
    /* Each of p0..p3 holds pair i in its low half and pair i + 4 in its high half. */
    low[0] = _mm256_permute2x128_si256(p0, p1, 0x20);
    low[1] = _mm256_permute2x128_si256(p2, p3, 0x20);
    high[0] = _mm256_permute2x128_si256(p0, p1, 0x31);
    high[1] = _mm256_permute2x128_si256(p2, p3, 0x31);
}

/* 8 pairs of one group of four rows, to where a panel has them. */
INLINE_AVX2 void place_four(const __m256i *rows, int16_t *out, int64_t tile) {
    __m256i low[2], high[2];
    four_by_eight(rows, low, high);
    if (tile == TILE_ROWS) {
        __m256i *to = (__m256i *)out;
        _mm256_storeu_si256(to, low[0]);
        _mm256_storeu_si256(to + 1, low[1]);
        _mm256_storeu_si256(to + 2, high[0]);
        _mm256_storeu_si256(to + 3, high[1]);
        return;
    }
    for (int i = 0; i < 2; i++) {
        _mm_storeu_si128((__m128i *)(out + (2 * i) * 2 * tile), _mm256_castsi256_si128(low[i]));
        _mm_storeu_si128((__m128i *)(out + (2 * i + 1) * 2 * tile), _mm256_extracti128_si256(low[i], 1));
        _mm_storeu_si128((__m128i *)(out + (2 * i + 4) * 2 * tile), _mm256_castsi256_si128(high[i]));
        _mm_storeu_si128((__m128i *)(out + (2 * i + 5) * 2 * tile), _mm256_extracti128_si256(high[i], 1));
    }
}

INLINE_AVX2 void along_k(const struct strip *s, enum source_type type, int16_t *out, int64_t pairs, int64_t tile) {
    const int64_t size = type == FROM_FLOAT ? 4 : type == FROM_INT16 ? 2 : 1;
    const int64_t whole = s->k / 16 * 16;
    for (int64_t r0 = 0; r0 < ceil_div(s->count, tile) * tile; r0 += 4) {
        int16_t *panel = out + r0 / tile * pairs * 2 * tile + r0 % tile * 2;
        const char *from[4];
        __m256 scale[4];
        __m256i keep[4];
        for (int i = 0; i < 4; i++) {
            /* Rows past the end read the last one and keep nothing of it. */
            const int64_t row = r0 + i < s->count ? r0 + i : s->count - 1;
            from[i] = s->source + row * s->row * size;
            scale[i] = type == FROM_FLOAT ? _mm256_set1_ps(s->scale[row]) : _mm256_setzero_ps();
            keep[i] = _mm256_set1_epi32(r0 + i >= s->count ? 0 : type == FROM_FLOAT ? (int)s->finite[row] : -1);
        }
        __m256i rows[4];
        for (int64_t k = 0; k < whole; k += 16) {
            for (int i = 0; i < 4; i++)
                rows[i] = _mm256_and_si256(sixteen(type, from[i] + k * size, scale[i], keep[i]), keep[i]);
            place_four(rows, panel + k / 2 * 2 * tile, tile);
        }
        if (whole == s->k) continue;
        for (int i = 0; i < 4; i++) {
            char rest[16 * 4] = {0};
            memcpy(rest, from[i] + whole * size, (size_t)((s->k - whole) * size));
            rows[i] = _mm256_and_si256(sixteen(type, rest, scale[i], keep[i]), keep[i]);
        }
        place_four(rows, panel + whole / 2 * 2 * tile, tile);
    }
}

/* Eight rows at one k as int32, those that `keep` names. */
INLINE_AVX2 __m256i eight(enum source_type type, const char *at, int64_t count, __m256 scale, __m256i keep) {
    char part[8 * 4] = {0};
    if (count < 8) {
        memcpy(part, at, (size_t)(count * (type == FROM_FLOAT ? 4 : type == FROM_INT16 ? 2 : 1)));
        at = part;
    }
    if (type == FROM_INT16) return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)at));
    if (type == FROM_INT8) return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at));
    return _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps((const float *)at), scale)), keep);
}

INLINE_AVX2 void across_k(const struct strip *s, enum source_type type, int16_t *out, int64_t pairs, int64_t tile) {
    const int64_t size = type == FROM_FLOAT ? 4 : type == FROM_INT16 ? 2 : 1;
    const int64_t rows = ceil_div(s->count, tile) * tile;
    const __m256i zero = _mm256_setzero_si256();
    for (int64_t p = 0; p < pairs; p++) {
        const char *at = s->source + 2 * p * s->column * size;
        for (int64_t r = 0; r < rows; r += 8) {
            const int64_t count = s->count - r < 8 ? s->count - r : 8;
            __m256i pair = zero;
            if (2 * p < s->k && count > 0) {
                const __m256 scale = _mm256_loadu_ps(s->scale + r);
                const __m256i keep = _mm256_loadu_si256((const __m256i *)(s->finite + r));
                const __m256i even = eight(type, at + r * size, count, scale, keep);
                const bool whole = 2 * p + 1 < s->k;
                const __m256i odd = whole ? eight(type, at + (s->column + r) * size, count, scale, keep) : zero;
                pair = _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa);
            }
            int16_t *to = out + r / tile * pairs * 2 * tile + p * 2 * tile + r % tile * 2;
            if (tile == TILE_ROWS) {
                _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(pair));
                if (r + 4 < rows) _mm_storeu_si128((__m128i *)(to + pairs * 2 * tile), _mm256_extracti128_si256(pair, 1));
            } else {
                _mm256_storeu_si256((__m256i *)to, pair);
            }
        }
    }
}

/* One function a type and tile: the branches on both are gone from the loops. */
#define BY_TYPE_AND_TILE(NAME, BODY)                                                                                   \
    __attribute__((target("avx2"))) static void NAME(const struct strip *s, enum source_type type, int16_t *out,       \
                                                     int64_t pairs, int64_t tile) {                                    \
        if (tile == TILE_ROWS) {                                                                                       \
            if (type == FROM_FLOAT) BODY(s, FROM_FLOAT, out, pairs, TILE_ROWS);                                        \
            else if (type == FROM_INT16) BODY(s, FROM_INT16, out, pairs, TILE_ROWS);                                   \
            else BODY(s, FROM_INT8, out, pairs, TILE_ROWS);                                                            \
        } else {                                                                                                       \
            if (type == FROM_FLOAT) BODY(s, FROM_FLOAT, out, pairs, TILE_COLUMNS);                                     \
            else if (type == FROM_INT16) BODY(s, FROM_INT16, out, pairs, TILE_COLUMNS);                                \
            else BODY(s, FROM_INT8, out, pairs, TILE_COLUMNS);                                                         \
        }                                                                                                              \
    }
BY_TYPE_AND_TILE(pack_along_k, along_k)
BY_TYPE_AND_TILE(pack_across_k, across_k)

__attribute__((target("avx2"))) static void largest_along_k(const struct strip *s, uint32_t *m) {
    const __m256i magnitude_bits = _mm256_set1_epi32(0x7fffffff);
    for (int64_t r = 0; r < s->count; r++) {
        const float *row = (const float *)s->source + r * s->row;
        __m256i most[4];
        for (int i = 0; i < 4; i++) most[i] = _mm256_setzero_si256();
        int64_t k = 0;
        for (; k + 32 <= s->k; k += 32)
            for (int i = 0; i < 4; i++) {
                const __m256i x = _mm256_loadu_si256((const __m256i *)(row + k + 8 * i));
                most[i] = _mm256_max_epi32(most[i], _mm256_and_si256(x, magnitude_bits));
            }
        most[0] = _mm256_max_epi32(_mm256_max_epi32(most[0], most[1]), _mm256_max_epi32(most[2], most[3]));
        int32_t lanes[8];
        _mm256_storeu_si256((__m256i *)lanes, most[0]);
        uint32_t largest = 0;
        for (int i = 0; i < 8; i++) largest = (uint32_t)lanes[i] > largest ? (uint32_t)lanes[i] : largest;
        for (; k < s->k; k++) largest = magnitude(row[k]) > largest ? magnitude(row[k]) : largest;
        m[r] = largest;
    }
}

__attribute__((target("avx2"))) static void largest_across_k(const struct strip *s, uint32_t *m) {
    const __m256i magnitude_bits = _mm256_set1_epi32(0x7fffffff);
    int64_t r = 0;
    for (; r + 32 <= s->count; r += 32) {
        __m256i most[4];
        for (int i = 0; i < 4; i++) most[i] = _mm256_setzero_si256();
        for (int64_t k = 0; k < s->k; k++)
            for (int i = 0; i < 4; i++) {
                const __m256i x = _mm256_loadu_si256((const __m256i *)((const float *)s->source + k * s->column + r + 8 * i));
                most[i] = _mm256_max_epi32(most[i], _mm256_and_si256(x, magnitude_bits));
            }
        for (int i = 0; i < 4; i++) _mm256_storeu_si256((__m256i *)(m + r + 8 * i), most[i]);
    }
    for (int64_t i = r; i < s->count; i++) m[i] = 0;
    for (int64_t k = 0; k < s->k; k++)
        for (int64_t i = r; i < s->count; i++) {
            const uint32_t x = magnitude(((const float *)s->source)[k * s->column + i]);
            m[i] = x > m[i] ? x : m[i];
        }
}

/* Lanes are rows (twice for panels of A: even and odd pairs, each with half of a block, added up at the end). */
__attribute__((target("avx2"))) static void norms_fast(const int16_t *panel, int64_t pairs, int64_t tile, float *norms) {
    const int64_t vectors = tile / 8 > 0 ? tile / 8 : 1; /* of one step */
    __m256 most[NORMS];
    for (int i = 0; i < NORMS; i++) most[i] = _mm256_setzero_ps();
    for (int64_t v = 0; v < vectors; v++) {
        __m256 total = _mm256_setzero_ps(), wide = total, middle = total;
        const int64_t steps = tile == TILE_ROWS ? 4 : 8; /* vectors in a block of 8 pairs */
        for (int64_t p0 = 0; p0 < pairs; p0 += 8) {
            const __m256i *at = (const __m256i *)(panel + p0 * 2 * tile) + v;
            __m256 block = _mm256_setzero_ps();
            for (int64_t i = 0; i < steps; i++) {
                const __m256i x = _mm256_loadu_si256(at + i * vectors);
                /* Two squares of -32768 are 2^31, which madd and the conversion both take for -2^31. */
                const __m256 squares = _mm256_cvtepi32_ps(_mm256_madd_epi16(x, x));
                block = _mm256_add_ps(block, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), squares));
            }
            if (tile == TILE_ROWS) block = _mm256_add_ps(block, _mm256_permute2f128_ps(block, block, 1));
            middle = p0 % 16 == 0 ? block : _mm256_add_ps(middle, block);
            wide = p0 % 32 == 0 ? block : _mm256_add_ps(wide, block);
            total = _mm256_add_ps(total, block);
            most[0] = _mm256_max_ps(most[0], block);
            most[1] = _mm256_max_ps(most[1], middle);
            most[2] = _mm256_max_ps(most[2], wide);
        }
        most[3] = _mm256_max_ps(most[3], total);
    }
    for (int i = 0; i < NORMS; i++) {
        float lanes[8], largest = 0;
        _mm256_storeu_ps(lanes, most[i]);
        for (int j = 0; j < 8; j++) largest = lanes[j] > largest ? lanes[j] : largest;
        norms[i] = largest * 1.01f;
    }
    if (pairs > 65536) norms[3] = HUGE_VALF;
}
