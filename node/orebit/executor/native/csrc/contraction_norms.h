/* Sums of squares of packed int16 pairs in vectors: see contraction_norms.c. */
#ifndef OREBIT_CONTRACTION_NORMS_H
#define OREBIT_CONTRACTION_NORMS_H

#include "contraction_quantise.h"
#include "product16.h"

#define BLOCK_PAIRS 8
#define BLOCKS 3

/* Norms as product16.h wants them, of the greatest sums found, which are in units of 16. */
void contraction_norms_of(const float *most, int64_t pairs, float *norms);

#if OREBIT_X86
/* Greatest sums so far of 8, 16 and 32 pairs and of all, by lane. */
struct norm_vectors {
    __m256 best[NORMS];
};

/* Sums under way of 16 and 32 pairs and of all, by lane. */
struct norm_sums {
    __m256 two, four, total;
};

INLINE_AVX2 struct norm_vectors no_norms(void) {
    const __m256 zero = _mm256_setzero_ps();
    return (struct norm_vectors){{zero, zero, zero, zero}};
}

INLINE_AVX2 struct norm_sums no_sums(void) {
    const __m256 zero = _mm256_setzero_ps();
    return (struct norm_sums){zero, zero, zero};
}

/* A pair's sum of squares in units of 16, rounded up. It may be 2^31, hence the logical shift. */
INLINE_AVX2 __m256i norm_squares(__m256i x) {
    return _mm256_add_epi32(_mm256_srli_epi32(_mm256_madd_epi16(x, x), 4), _mm256_set1_epi32(1));
}

/* Takes up the sums of the next 8 pairs. */
INLINE_AVX2 void join_block(struct norm_vectors *found, struct norm_sums *sums, __m256i eight, int64_t block) {
    const __m256 sum = _mm256_cvtepi32_ps(eight);
    sums->two = block % 2 == 0 ? sum : _mm256_add_ps(sums->two, sum);
    sums->four = block % 4 == 0 ? sum : _mm256_add_ps(sums->four, sum);
    sums->total = _mm256_add_ps(sums->total, sum);
    found->best[0] = _mm256_max_ps(found->best[0], sum);
    found->best[1] = _mm256_max_ps(found->best[1], sums->two);
    found->best[2] = _mm256_max_ps(found->best[2], sums->four);
}

/* The greatest lane of each. */
INLINE_AVX2 void greatest(const struct norm_vectors *found, float *most) {
    for (int i = 0; i < NORMS; i++) {
        float each[8];
        _mm256_storeu_ps(each, found->best[i]);
        most[i] = 0;
        for (int j = 0; j < 8; j++) most[i] = each[j] > most[i] ? each[j] : most[i];
    }
}
#endif

#endif
