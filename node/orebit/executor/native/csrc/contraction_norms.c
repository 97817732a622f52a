/* Norms of packed int16 panels (product16.h): what lets a product spill as seldom as its operands at hand allow. */
#include "contraction_pack.h"
#include "orebit.h"
#include "product16.h"

#include <math.h>
#include <string.h>

#if OREBIT_X86
#include <immintrin.h>
#endif

#define BLOCK_PAIRS 8
#define MOST_LANES 16

/* Greatest sums over the lanes of 8, 16 and 32 aligned pairs, and each lane's sum of all; in units of 16. */
struct norm_sums {
    float pair[2][MOST_LANES]; /* sums of blocks of 8 and 16 pairs not yet joined */
    float total[MOST_LANES];
    float most[3];
};

static float larger(float a, float b) { return a > b ? a : b; }

/* One block of 8 pairs: eight's sums, joined with those before it to 16 and to 32. */
static void join_block(struct norm_sums *sums, const int32_t *eight, int64_t block, int64_t lanes) {
    for (int64_t l = 0; l < lanes; l++) {
        const float x = (float)eight[l];
        sums->total[l] += x;
        sums->most[0] = larger(sums->most[0], x);
        const float two = block % 2 ? sums->pair[0][l] + x : x;
        sums->pair[0][l] = two;
        sums->most[1] = larger(sums->most[1], two);
        const float four = block % 4 == 0 ? 0 : sums->pair[1][l];
        sums->most[2] = larger(sums->most[2], four + two);
        if (block % 2) sums->pair[1][l] = four + two;
    }
}

static void block_singly(const int16_t *panel, int64_t lanes, int32_t *eight) {
    memset(eight, 0, MOST_LANES * sizeof *eight);
    for (int64_t p = 0; p < BLOCK_PAIRS; p++) {
        for (int64_t l = 0; l < lanes; l++) {
            const int32_t x = panel[(p * lanes + l) * 2], y = panel[(p * lanes + l) * 2 + 1];
            eight[l] += (int32_t)(((uint32_t)(x * x) + (uint32_t)(y * y)) >> 4) + 1;
        }
    }
}

#if OREBIT_X86
__attribute__((target("avx2"))) static __m256i squares(const int16_t *at) {
    const __m256i x = _mm256_loadu_si256((const void *)at);
    return _mm256_add_epi32(_mm256_srli_epi32(_mm256_madd_epi16(x, x), 4), _mm256_set1_epi32(1));
}

__attribute__((target("avx2"))) static void block_avx2(const int16_t *panel, int64_t lanes, int32_t *eight) {
    __m256i a = _mm256_setzero_si256(), b = a;
    if (lanes == TILE_COLUMNS) {
        for (int p = 0; p < BLOCK_PAIRS; p++) {
            a = _mm256_add_epi32(a, squares(panel + p * 32));
            b = _mm256_add_epi32(b, squares(panel + p * 32 + 16));
        }
        _mm256_storeu_si256((void *)eight, a);
        _mm256_storeu_si256((void *)(eight + 8), b);
        return;
    }
    for (int p = 0; p < BLOCK_PAIRS / 2; p++) a = _mm256_add_epi32(a, squares(panel + p * 16));
    const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storeu_si128((void *)eight, both);
}
#endif

/* Rounding up: every float sum above took at most `steps` roundings of relative size 2^-24. */
static float upper(float sum, int64_t steps) {
    const float bound = (float)(16.0 * sum * (1.0 + (double)(steps + 8) * 0x1p-23));
    return nextafterf(bound, INFINITY);
}

void contraction_norms(const int16_t *panel, int64_t lanes, int64_t pairs, float *norms) {
    struct norm_sums sums;
    int32_t eight[MOST_LANES];
    memset(&sums, 0, sizeof sums);
    const int64_t blocks = pairs / BLOCK_PAIRS;
    for (int64_t block = 0; block < blocks; block++, panel += BLOCK_PAIRS * lanes * 2) {
#if OREBIT_X86
        if (__builtin_cpu_supports("avx2") && (lanes == TILE_COLUMNS || lanes == TILE_ROWS)) {
            block_avx2(panel, lanes, eight);
        } else {
            block_singly(panel, lanes, eight);
        }
#else
        block_singly(panel, lanes, eight);
#endif
        join_block(&sums, eight, block, lanes);
    }
    float total = 0;
    for (int64_t l = 0; l < lanes; l++) total = larger(total, sums.total[l]);
    for (int i = 0; i < 3; i++) norms[i] = upper(sums.most[i], 8);
    norms[3] = upper(total, blocks);
}
