/* The tile of doubles for AVX2. Fused multiply-adds are exact here: every sum is an integer below 2^53. */
#include "product16_tiles.h"

#if OREBIT_X86

#include <immintrin.h>

/* From the intrinsic, compilers copy the sum about. */
#define MULTIPLY_ADD(sum, x, y) __asm__("vfmadd231pd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y))

__attribute__((target("avx2,fma"))) void orebit_tile64_avx2(const double *a, const double *b, int64_t k,
                                                            double *sums) {
    for (int half = 0; half < 2; half++) {
        __m256d t[TILE_ROWS][2];
        for (int r = 0; r < TILE_ROWS; r++) t[r][0] = t[r][1] = _mm256_setzero_pd();
        const double *left = a, *right = b + 8 * half;
        for (int64_t i = 0; i < k; i++, left += TILE_ROWS, right += TILE_COLUMNS) {
            const __m256d b0 = _mm256_load_pd(right), b1 = _mm256_load_pd(right + 4);
#pragma GCC unroll 4
            for (int r = 0; r < TILE_ROWS; r++) {
                const __m256d x = _mm256_broadcast_sd(left + r);
                MULTIPLY_ADD(t[r][0], x, b0);
                MULTIPLY_ADD(t[r][1], x, b1);
            }
        }
        for (int r = 0; r < TILE_ROWS; r++) {
            _mm256_store_pd(sums + r * TILE_COLUMNS + 8 * half, t[r][0]);
            _mm256_store_pd(sums + r * TILE_COLUMNS + 8 * half + 4, t[r][1]);
        }
    }
}

#endif
