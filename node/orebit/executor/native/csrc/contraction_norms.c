/* Norms of packed int16 panels (product16.h): what lets a product spill as seldom as its operands at hand allow.
 *
 * A pair's sum of squares is at most 2^31, as unsigned; it is rounded up to units of 16, so that 8 pairs fit int32. Sums
 * of 8 pairs are added up as floats, and the result is raised by more than all their roundings can have taken. */
#include "contraction_pack.h"
#include "orebit.h"
#include "product16.h"

#include <math.h>

#if OREBIT_X86
#include <immintrin.h>
#endif

#define BLOCK_PAIRS 8
#define BLOCKS 3

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
/* `step` vectors make a pair of 16 lanes, or one vector two pairs of 4 lanes, whose halves are added. */
__attribute__((target("avx2"))) static void norms_avx2(const int16_t *panel, int64_t lanes, int64_t pairs,
                                                       float *most) {
    const int64_t columns = lanes == TILE_ROWS ? 1 : 2, steps = BLOCK_PAIRS * lanes * 2 / (16 * columns);
    const __m256i one = _mm256_set1_epi32(1);
    __m256 best[NORMS];
    for (int i = 0; i < NORMS; i++) best[i] = _mm256_setzero_ps();
    for (int64_t v = 0; v < columns; v++) {
        __m256 total = _mm256_setzero_ps(), two = total, four = total;
        const __m256i *at = (const __m256i *)panel + v;
        for (int64_t block = 0; block < pairs / BLOCK_PAIRS; block++) {
            __m256i sum = _mm256_setzero_si256();
            for (int64_t i = 0; i < steps; i++, at += columns) {
                const __m256i x = _mm256_loadu_si256(at);
                sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_srli_epi32(_mm256_madd_epi16(x, x), 4), one));
            }
            if (columns == 1) sum = _mm256_add_epi32(sum, _mm256_permute2x128_si256(sum, sum, 1));
            const __m256 eight = _mm256_cvtepi32_ps(sum);
            two = block % 2 == 0 ? eight : _mm256_add_ps(two, eight);
            four = block % 4 == 0 ? eight : _mm256_add_ps(four, eight);
            total = _mm256_add_ps(total, eight);
            best[0] = _mm256_max_ps(best[0], eight);
            best[1] = _mm256_max_ps(best[1], two);
            best[2] = _mm256_max_ps(best[2], four);
        }
        best[3] = _mm256_max_ps(best[3], total);
    }
    for (int i = 0; i < NORMS; i++) {
        float each[8];
        _mm256_storeu_ps(each, best[i]);
        for (int j = 0; j < 8; j++) most[i] = larger(most[i], each[j]);
    }
}
#endif

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
    for (int i = 0; i < NORMS; i++) norms[i] = upper(most[i], pairs / BLOCK_PAIRS);
}
