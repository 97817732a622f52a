/* The int16 tile for AVX2, in assembly: compilers spill the accumulators, which costs half of the speed.
 *
 * ymm0-7 hold t, ymm8-9 a pair of B, ymm10 and ymm13 a pair of one row of A, the rest products. */
#include "product16_tiles.h"

#if OREBIT_X86

#include <immintrin.h>

#define LOAD_B(pair) "vmovdqu " #pair "*64(%[b]), %%ymm8\n vmovdqu " #pair "*64+32(%[b]), %%ymm9\n"

#define FIRST(pair, row, x, left, right)                          \
    "vpbroadcastd " #pair "*16+4*" #row "(%[a]), %%ymm" #x "\n"   \
    "vpmaddwd %%ymm" #x ", %%ymm8, %%ymm" #left "\n"              \
    "vpmaddwd %%ymm" #x ", %%ymm9, %%ymm" #right "\n"

#define NEXT(pair, row, x, y, z, left, right)                     \
    "vpbroadcastd " #pair "*16+4*" #row "(%[a]), %%ymm" #x "\n"   \
    "vpmaddwd %%ymm" #x ", %%ymm8, %%ymm" #y "\n"                 \
    "vpmaddwd %%ymm" #x ", %%ymm9, %%ymm" #z "\n"                 \
    "vpaddd %%ymm" #y ", %%ymm" #left ", %%ymm" #left "\n"        \
    "vpaddd %%ymm" #z ", %%ymm" #right ", %%ymm" #right "\n"

#define FIRST_PAIR(p) LOAD_B(p) FIRST(p, 0, 10, 0, 1) FIRST(p, 1, 13, 2, 3) FIRST(p, 2, 10, 4, 5) FIRST(p, 3, 13, 6, 7)

#define NEXT_PAIR(p)                                                                  \
    LOAD_B(p) NEXT(p, 0, 10, 11, 12, 0, 1) NEXT(p, 1, 13, 14, 15, 2, 3)               \
    NEXT(p, 2, 10, 11, 12, 4, 5) NEXT(p, 3, 13, 14, 15, 6, 7)

#define ADVANCE "add $4*16, %[a]\n add $4*64, %[b]\n"

/* The sums of one chunk, into ymm0-7. */
#define CHUNK                                                                         \
    FIRST_PAIR(0) NEXT_PAIR(1) NEXT_PAIR(2) NEXT_PAIR(3) ADVANCE                      \
    "mov %[units], %[left]\n"                                                         \
    "sub $1, %[left]\n"                                                               \
    "jz 3f\n"                                                                         \
    ".p2align 5\n"                                                                    \
    "2:\n"                                                                            \
    NEXT_PAIR(0) NEXT_PAIR(1) NEXT_PAIR(2) NEXT_PAIR(3) ADVANCE                       \
    "sub $1, %[left]\n"                                                               \
    "jnz 2b\n"                                                                        \
    "3:\n"

#define SPILL(i, x)                                                                   \
    "vpsrad $16, %%ymm" #i ", %%ymm" #x "\n"                                          \
    "vpaddd 32*" #i "(%[lo]), %%ymm" #i ", %%ymm" #i "\n"                             \
    "vpaddd 32*" #i "(%[hi]), %%ymm" #x ", %%ymm" #x "\n"                             \
    "vmovdqa %%ymm" #i ", 32*" #i "(%[lo])\n"                                         \
    "vmovdqa %%ymm" #x ", 32*" #i "(%[hi])\n"

#define STORE(i) "vmovdqa %%ymm" #i ", 32*" #i "(%[lo])\n"

#define CLOBBERED                                                                                                    \
    "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
        "xmm12", "xmm13", "xmm14", "xmm15"

void orebit_tile16_avx2(const struct panels16 *p, int64_t chunks, int64_t pairs, int32_t *lo, int32_t *hi) {
    const int16_t *a = p->a, *b = p->b;
    const int64_t units = pairs / CHUNK_UNIT;
    int64_t left;
    if (hi == 0) {
        __asm__ volatile(CHUNK STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5) STORE(6) STORE(7) "vzeroupper\n"
                         : [a] "+r"(a), [b] "+r"(b), [left] "=&r"(left)
                         : [units] "r"(units), [lo] "r"(lo)
                         : CLOBBERED);
        return;
    }
    __asm__ volatile("1:\n" CHUNK SPILL(0, 10) SPILL(1, 11) SPILL(2, 12) SPILL(3, 13) SPILL(4, 10) SPILL(5, 11)
                         SPILL(6, 12) SPILL(7, 13) "sub $1, %[chunks]\n"
                                                   "jnz 1b\n"
                                                   "vzeroupper\n"
                     : [a] "+r"(a), [b] "+r"(b), [left] "=&r"(left), [chunks] "+r"(chunks)
                     : [units] "r"(units), [lo] "r"(lo), [hi] "r"(hi)
                     : CLOBBERED);
}

#define INLINE_AVX2 static inline __attribute__((always_inline, target("avx2")))

INLINE_AVX2 __m256 widened(__m256i lo, __m256i hi) {
    /* hi * 65536 + u32(lo - (hi << 16)) as exact doubles, below 2^53: the conversion to float is the only rounding. */
    const __m256i low = _mm256_xor_si256(_mm256_sub_epi32(lo, _mm256_slli_epi32(hi, 16)), _mm256_set1_epi32(INT32_MIN));
    const __m256d unit = _mm256_set1_pd(65536.0), offset = _mm256_set1_pd(2147483648.0);
    __m128 halves[2];
    for (int i = 0; i < 2; i++) {
        const __m128i h = i ? _mm256_extracti128_si256(hi, 1) : _mm256_castsi256_si128(hi);
        const __m128i l = i ? _mm256_extracti128_si256(low, 1) : _mm256_castsi256_si128(low);
        const __m256d upper = _mm256_mul_pd(_mm256_cvtepi32_pd(h), unit);
        halves[i] = _mm256_cvtpd_ps(_mm256_add_pd(upper, _mm256_add_pd(_mm256_cvtepi32_pd(l), offset)));
    }
    return _mm256_set_m128(halves[1], halves[0]);
}

INLINE_AVX2 __m256 power_of_two(__m256i e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
}

__attribute__((target("avx2"))) void orebit_rescale16_avx2(const int32_t *lo, const int32_t *hi,
                                                           const int32_t *row_exponents,
                                                           const struct columns16 *columns, float *const *out) {
    for (int v = 0; v < TILE_COLUMNS / 8; v++) {
        const __m256i eb = _mm256_loadu_si256((const __m256i *)columns->exponent + v);
        const __m256i finite = _mm256_loadu_si256((const __m256i *)columns->finite + v);
        for (int r = 0; r < TILE_ROWS; r++) {
            const int64_t at = r * TILE_COLUMNS / 8 + v;
            const __m256i low = _mm256_load_si256((const __m256i *)lo + at);
            const __m256 x = hi == 0 ? _mm256_cvtepi32_ps(low) : widened(low, _mm256_load_si256((const __m256i *)hi + at));
            const __m256i ea = _mm256_set1_epi32(row_exponents[r]);
            const __m256i scale = _mm256_add_epi32(ea, eb), half = _mm256_srai_epi32(scale, 1);
            const __m256 y = _mm256_mul_ps(_mm256_mul_ps(x, power_of_two(half)),
                                           power_of_two(_mm256_sub_epi32(scale, half)));
            const __m256i row_nan = _mm256_cmpeq_epi32(ea, _mm256_set1_epi32(NOT_FINITE));
            const __m256i keep = _mm256_andnot_si256(row_nan, finite);
            const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(NAN_BITS));
            _mm256_storeu_ps(out[r] + 8 * v, _mm256_blendv_ps(nan, y, _mm256_castsi256_ps(keep)));
        }
    }
}

#endif
