/* Norms of packed int16 panels (product16.h): what lets a product spill as seldom as its operands at hand allow.
 *
 * A pair's sum of squares is at most 2^31, as unsigned; it is rounded up to units of 16, so that 8 pairs fit int32. Sums
 * of 8 pairs are added up as floats, and the result is raised by more than all their roundings can have taken. */
#include "contraction_norms.h"
#include "contraction_pack.h"

#include <math.h>

static float larger(float a, float b) { return a > b ? a : b; }

static float upper(float sum, int64_t roundings) {
    return nextafterf((float)(16.0 * sum * (1.0 + (double)(roundings + 8) * 0x1p-23)), INFINITY);
}

/* most[0..2]: greatest sums of 8, 16 and 32 aligned pairs; most[3]: of all. */
static void norms_singly(const int16_t *panel, int64_t lanes, int64_t pairs, float *most) {
    for (int64_t l = 0; l < lanes; l++) {
        float total = 0, sums[BLOCKS] = {0};
        for (int64_t p0 = 0; p0 < pairs; p0 += BLOCK_PAIRS) {
            int32_t eight = 0;
            for (int64_t p = p0; p < p0 + BLOCK_PAIRS; p++) {
                const int32_t x = panel[(p * lanes + l) * 2], y = panel[(p * lanes + l) * 2 + 1];
                eight += (int32_t)(((uint32_t)(x * x) + (uint32_t)(y * y)) >> 4) + 1;
            }
            total += (float)eight;
            for (int i = 0; i < BLOCKS; i++) {
                sums[i] = p0 % (BLOCK_PAIRS << i) == 0 ? (float)eight : sums[i] + (float)eight;
                most[i] = larger(most[i], sums[i]);
            }
        }
        most[BLOCKS] = larger(most[BLOCKS], total);
    }
}

#if OREBIT_X86
/* `columns` vectors make a pair of 16 lanes, or one vector two pairs of 4 lanes, whose halves are added. */
AVX2 static void norms_avx2(const int16_t *panel, int64_t lanes, int64_t pairs, float *most) {
    const int64_t columns = lanes == TILE_ROWS ? 1 : 2, steps = BLOCK_PAIRS * lanes * 2 / (16 * columns);
    struct norm_vectors found = no_norms();
    for (int64_t v = 0; v < columns; v++) {
        struct norm_sums sums = no_sums();
        const __m256i *at = (const __m256i *)panel + v;
        for (int64_t block = 0; block < pairs / BLOCK_PAIRS; block++) {
            __m256i sum = _mm256_setzero_si256();
            for (int64_t i = 0; i < steps; i++, at += columns) {
                sum = _mm256_add_epi32(sum, norm_squares(_mm256_loadu_si256(at)));
            }
            if (columns == 1) sum = _mm256_add_epi32(sum, _mm256_permute2x128_si256(sum, sum, 1));
            join_block(&found, &sums, sum, block);
        }
        found.best[BLOCKS] = _mm256_max_ps(found.best[BLOCKS], sums.total);
    }
    greatest(&found, most);
}
#endif

void contraction_norms_of(const float *most, int64_t pairs, float *norms) {
    for (int i = 0; i < NORMS; i++) norms[i] = upper(most[i], pairs / BLOCK_PAIRS);
}

void contraction_norms(const int16_t *panel, int64_t lanes, int64_t pairs, float *norms) {
    float most[NORMS] = {0};
#if OREBIT_X86
    if (__builtin_cpu_supports("avx2") && (lanes == TILE_ROWS || lanes == TILE_COLUMNS)) {
        norms_avx2(panel, lanes, pairs, most);
    } else {
        norms_singly(panel, lanes, pairs, most);
    }
#else
    norms_singly(panel, lanes, pairs, most);
#endif
    contraction_norms_of(most, pairs, norms);
}
