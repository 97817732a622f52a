/* One panel of columns by panels of rows, each tile rescaled and stored at once: what nearly every product comes down to.
 *
 * The sums stay in registers from the first pair to the last. After a chunk, hi += t >> 16 and t keeps its low 16 bits,
 * which the next chunk is added to: S = hi * 65536 + t. */
#include "product16_tiles.h"

#if OREBIT_X86

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE_AVX2 static inline __attribute__((always_inline, target("avx2,fma")))

#define ROW(pair, row, x, y, z, left, right)                      \
    "vpbroadcastd " #pair "*16+4*" #row "(%[a]), %%ymm" #x "\n"   \
    "vpmaddwd %%ymm" #x ", %%ymm8, %%ymm" #y "\n"                 \
    "vpmaddwd %%ymm" #x ", %%ymm9, %%ymm" #z "\n"                 \
    "vpaddd %%ymm" #y ", %%ymm" #left ", %%ymm" #left "\n"        \
    "vpaddd %%ymm" #z ", %%ymm" #right ", %%ymm" #right "\n"

#define PAIR(p)                                                                 \
    "vmovdqa " #p "*64(%[b]), %%ymm8\n vmovdqa " #p "*64+32(%[b]), %%ymm9\n"    \
    ROW(p, 0, 10, 11, 12, 0, 1) ROW(p, 1, 13, 14, 15, 2, 3)                     \
    ROW(p, 2, 10, 11, 12, 4, 5) ROW(p, 3, 13, 14, 15, 6, 7)

#define UNIT PAIR(0) PAIR(1) PAIR(2) PAIR(3) "add $4*16, %[a]\n add $4*64, %[b]\n"

#define CLEAR(i) "vpxor %%ymm" #i ", %%ymm" #i ", %%ymm" #i "\n"

#define SPILL(i, x)                                               \
    "vpsrad $16, %%ymm" #i ", %%ymm" #x "\n"                      \
    "vpblendw $0xaa, %%ymm8, %%ymm" #i ", %%ymm" #i "\n"          \
    "vpaddd 32*" #i "(%[hi]), %%ymm" #x ", %%ymm" #x "\n"         \
    "vmovdqa %%ymm" #x ", 32*" #i "(%[hi])\n"

#define STORE(i) "vmovdqa %%ymm" #i ", 32*" #i "(%[lo])\n"

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* `spills` chunks of `units` units of four pairs, each followed by a spill into hi, then `last` units, which stay in lo. */
INLINE_AVX2 void sum_tile(const void *a, const void *b, int64_t spills, int64_t units, int64_t last, int32_t *lo,
                          int32_t *hi) {
    int64_t left;
    __asm__ volatile(EACH(CLEAR)
                     "test %[spills], %[spills]\n"
                     "jz 3f\n"
                     "1:\n"
                     "mov %[units], %[left]\n"
                     ".p2align 5\n"
                     "2:\n" UNIT
                     "sub $1, %[left]\n"
                     "jnz 2b\n" CLEAR(8)
                     SPILL(0, 10) SPILL(1, 11) SPILL(2, 12) SPILL(3, 13) SPILL(4, 10) SPILL(5, 11) SPILL(6, 12) SPILL(7, 13)
                     "sub $1, %[spills]\n"
                     "jnz 1b\n"
                     "3:\n"
                     "mov %[last], %[left]\n"
                     ".p2align 5\n"
                     "4:\n" UNIT
                     "sub $1, %[left]\n"
                     "jnz 4b\n" EACH(STORE)
                     : [a] "+r"(a), [b] "+r"(b), [left] "=&r"(left), [spills] "+r"(spills)
                     : [units] "r"(units), [last] "r"(last), [lo] "r"(lo), [hi] "r"(hi)
                     : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* Sums of one tile; hi is read only if the tile was spilled. */
struct tile {
    _Alignas(32) int32_t lo[TILE], hi[TILE];
    int spilled;
};

/* Eight sums as floats. As doubles they are exact, being below 2^53, so that they are rounded once. */
INLINE_AVX2 __m256 eight_floats(const struct tile *t, int64_t at) {
    const __m256d unit = _mm256_set1_pd(65536.0);
    __m128 halves[2];
    if (!t->spilled) return _mm256_cvtepi32_ps(_mm256_load_si256((const __m256i *)(t->lo + at)));
    for (int i = 0; i < 2; i++) {
        const __m256d low = _mm256_cvtepi32_pd(_mm_load_si128((const __m128i *)(t->lo + at) + i));
        const __m256d high = _mm256_cvtepi32_pd(_mm_load_si128((const __m128i *)(t->hi + at) + i));
        halves[i] = _mm256_cvtpd_ps(_mm256_fmadd_pd(high, unit, low));
    }
    return _mm256_set_m128(halves[1], halves[0]);
}

INLINE_AVX2 void store_floats(const struct stripe16 *s, int64_t row, int64_t rows, const struct tile *t) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    float *out = (float *)s->out + row * s->row_step;
    for (int64_t r = 0; r < rows; r++, out += s->row_step) {
        const __m256 scale = _mm256_set1_ps(s->row_scales[row + r]);
        for (int64_t v = 0; v < TILE_COLUMNS; v += 8) {
            const __m256 x = _mm256_mul_ps(eight_floats(t, r * TILE_COLUMNS + v), _mm256_loadu_ps(s->column_scales + v));
            const __m256 y = _mm256_mul_ps(x, scale);
            if (s->columns == TILE_COLUMNS) {
                _mm256_storeu_ps(out + v, y);
            } else {
                const __m256i count = _mm256_set1_epi32((int)(s->columns - v));
                _mm256_maskstore_ps(out + v, _mm256_cmpgt_epi32(count, index), y);
            }
        }
    }
}

INLINE_AVX2 void store_integers(const struct stripe16 *s, int64_t row, int64_t rows, const struct tile *t) {
    const __m256i index = _mm256_setr_epi64x(0, 1, 2, 3);
    long long *out = (long long *)s->out + row * s->row_step;
    for (int64_t r = 0; r < rows; r++, out += s->row_step) {
        for (int64_t v = 0; v < TILE_COLUMNS; v += 4) {
            const int64_t at = r * TILE_COLUMNS + v;
            __m256i sum = _mm256_cvtepi32_epi64(_mm_load_si128((const __m128i *)(t->lo + at)));
            if (t->spilled) {
                const __m256i high = _mm256_cvtepi32_epi64(_mm_load_si128((const __m128i *)(t->hi + at)));
                sum = _mm256_add_epi64(sum, _mm256_slli_epi64(high, 16));
            }
            const __m256i count = _mm256_set1_epi64x(s->columns - v);
            _mm256_maskstore_epi64(out + v, _mm256_cmpgt_epi64(count, index), sum);
        }
    }
}

AVX2 void orebit_stripe16_avx2(const struct stripe16 *s, const float *row_norms, const float *column_norms) {
    const int64_t panel_bytes = s->pairs * 2 * TILE_ROWS * (int64_t)sizeof(int16_t);
    struct tile t;
    for (int64_t row = 0, panel = 0; row < s->rows; row += TILE_ROWS, panel++) {
        const float *norms = row_norms == NULL ? NULL : row_norms + panel * NORMS;
        const int64_t chunk = orebit_chunk_pairs(s->pairs, s->proven, norms, column_norms);
        const int64_t units = chunk / CHUNK_UNIT, all = s->pairs / CHUNK_UNIT;
        const int64_t spills = (all - 1) / units, left = s->rows - row;
        t.spilled = spills > 0;
        if (t.spilled) {
            for (int i = 0; i < TILE; i += 8) _mm256_store_si256((__m256i *)(t.hi + i), _mm256_setzero_si256());
        }
        sum_tile((const char *)s->a + panel * panel_bytes, s->b, spills, units, all - spills * units, t.lo, t.hi);
        const int64_t rows = left < TILE_ROWS ? left : TILE_ROWS;
        if (s->row_scales != NULL) store_floats(s, row, rows, &t);
        else store_integers(s, row, rows, &t);
    }
}

#endif
