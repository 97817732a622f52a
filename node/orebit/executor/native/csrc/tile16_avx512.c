/* The tiles for AVX-512 VNNI: 8 rows by 32 columns of int16 or int8, with A broadcast from memory; 4 by 16 doubles. */
#include "product16_tiles.h"

#if OREBIT_X86

#include <stddef.h>

#ifdef OREBIT_EMULATION
#include OREBIT_EMULATION
#else
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
/* t += a pair of A, broadcast from memory, times pairs of B. From the intrinsic, compilers copy t about. */
#define MULTIPLY_ADD(t, pair, right) __asm__("vpdpwssd %1%{1to16%}, %2, %0" : "+v"(t) : "m"(pair), "v"(right))
/* t += four unsigned bytes of B times four signed ones of A, broadcast from memory. */
#define MULTIPLY_ADD_BYTES(t, four, right) __asm__("vpdpbusd %1%{1to16%}, %2, %0" : "+v"(t) : "m"(four), "v"(right))
/* A fused multiply-add is exact here: every sum is an integer below 2^53. */
#define MULTIPLY_ADD_DOUBLES(t, left, right) __asm__("vfmadd231pd %1%{1to8%}, %2, %0" : "+v"(t) : "m"(left), "v"(right))
#endif

#define INLINE static inline __attribute__((always_inline)) TARGET

/* `rows` and `columns` are constants where this is inlined: the accumulators stay in registers. */
INLINE void run(const struct panels16 *p, int64_t chunks, int64_t pairs, int32_t *lo, int32_t *hi, const int rows,
                const int columns) {
    const int32_t *a = p->a, *b = p->b;
    const int64_t a_apart = p->pairs_apart * TILE_ROWS, b_apart = p->pairs_apart * TILE_COLUMNS;
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        __m512i t[2 * TILE_ROWS][2];
#pragma GCC unroll 8
        for (int r = 0; r < rows * TILE_ROWS; r++)
#pragma GCC unroll 2
            for (int c = 0; c < columns; c++) t[r][c] = _mm512_setzero_si512();
        for (int64_t i = 0; i < pairs; i++, a += TILE_ROWS, b += TILE_COLUMNS) {
            __m512i right[2];
#pragma GCC unroll 2
            for (int c = 0; c < columns; c++) right[c] = _mm512_loadu_si512(b + c * b_apart);
#pragma GCC unroll 8
            for (int r = 0; r < rows * TILE_ROWS; r++)
#pragma GCC unroll 2
                for (int c = 0; c < columns; c++)
                    MULTIPLY_ADD(t[r][c], a[r / TILE_ROWS * a_apart + r % TILE_ROWS], right[c]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows * TILE_ROWS; r++)
#pragma GCC unroll 2
            for (int c = 0; c < columns; c++) {
                const int at = ((r / TILE_ROWS * columns + c) * TILE_ROWS + r % TILE_ROWS) * TILE_COLUMNS;
                if (hi == NULL) {
                    _mm512_store_si512(lo + at, t[r][c]);
                    continue;
                }
                const __m512i low = _mm512_load_si512(lo + at), high = _mm512_load_si512(hi + at);
                _mm512_store_si512(lo + at, _mm512_add_epi32(low, t[r][c]));
                _mm512_store_si512(hi + at, _mm512_add_epi32(high, _mm512_srai_epi32(t[r][c], 16)));
            }
    }
}

TARGET void orebit_tile16_avx512vnni(const struct panels16 *p, int64_t chunks, int64_t pairs, int32_t *lo,
                                     int32_t *hi) {
    if (p->rows == 2) {
        if (p->columns == 2) run(p, chunks, pairs, lo, hi, 2, 2);
        else run(p, chunks, pairs, lo, hi, 2, 1);
    } else {
        if (p->columns == 2) run(p, chunks, pairs, lo, hi, 1, 2);
        else run(p, chunks, pairs, lo, hi, 1, 1);
    }
}

/* For each row of a panel of A, -128 times the sum of its digits: what B + 128 instead of B adds to each sum. */
INLINE void correct(const int32_t *a, int64_t groups, int32_t *rows) {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i sums = _mm512_setzero_si512();
    /* Four groups of four rows a vector; PAIR_UNIT pairs are four groups. */
    for (int64_t g = 0; g < groups; g += 4) sums = _mm512_dpbusd_epi32(sums, ones, _mm512_loadu_si512(a + g * TILE_ROWS));
    int32_t lanes[16];
    _mm512_storeu_si512(lanes, sums);
    for (int r = 0; r < TILE_ROWS; r++) rows[r] = -128 * (lanes[r] + lanes[r + 4] + lanes[r + 8] + lanes[r + 12]);
}

INLINE void run_bytes(const struct panels16 *p, int64_t pairs, int32_t *lo, const int rows, const int columns) {
    const int32_t *a = p->a, *b = p->b;
    const int64_t groups = pairs / 2, a_apart = p->pairs_apart / 2 * TILE_ROWS;
    const int64_t b_apart = p->pairs_apart / 2 * TILE_COLUMNS;
    const __m512i offset = _mm512_set1_epi8(-128);
    int32_t corrections[2 * TILE_ROWS];
    __m512i t[2 * TILE_ROWS][2];
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++) correct(a + i * a_apart, groups, corrections + i * TILE_ROWS);
#pragma GCC unroll 8
    for (int r = 0; r < rows * TILE_ROWS; r++)
#pragma GCC unroll 2
        for (int c = 0; c < columns; c++) t[r][c] = _mm512_set1_epi32(corrections[r]);
    for (int64_t g = 0; g < groups; g++, a += TILE_ROWS, b += TILE_COLUMNS) {
        __m512i right[2];
#pragma GCC unroll 2
        for (int c = 0; c < columns; c++) right[c] = _mm512_xor_si512(_mm512_loadu_si512(b + c * b_apart), offset);
#pragma GCC unroll 8
        for (int r = 0; r < rows * TILE_ROWS; r++)
#pragma GCC unroll 2
            for (int c = 0; c < columns; c++)
                MULTIPLY_ADD_BYTES(t[r][c], a[r / TILE_ROWS * a_apart + r % TILE_ROWS], right[c]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows * TILE_ROWS; r++)
#pragma GCC unroll 2
        for (int c = 0; c < columns; c++)
            _mm512_store_si512(lo + ((r / TILE_ROWS * columns + c) * TILE_ROWS + r % TILE_ROWS) * TILE_COLUMNS, t[r][c]);
}

TARGET void orebit_tile8_avx512vnni(const struct panels16 *p, int64_t pairs, int32_t *lo) {
    if (p->rows == 2) {
        if (p->columns == 2) run_bytes(p, pairs, lo, 2, 2);
        else run_bytes(p, pairs, lo, 2, 1);
    } else {
        if (p->columns == 2) run_bytes(p, pairs, lo, 1, 2);
        else run_bytes(p, pairs, lo, 1, 1);
    }
}

TARGET void orebit_tile64_avx512vnni(const double *a, const double *b, int64_t k, double *sums) {
    __m512d t[TILE_ROWS][2];
    for (int r = 0; r < TILE_ROWS; r++) t[r][0] = t[r][1] = _mm512_setzero_pd();
    for (int64_t i = 0; i < k; i++, a += TILE_ROWS, b += TILE_COLUMNS) {
        const __m512d b0 = _mm512_loadu_pd(b), b1 = _mm512_loadu_pd(b + 8);
#pragma GCC unroll 4
        for (int r = 0; r < TILE_ROWS; r++) {
            MULTIPLY_ADD_DOUBLES(t[r][0], a[r], b0);
            MULTIPLY_ADD_DOUBLES(t[r][1], a[r], b1);
        }
    }
    for (int r = 0; r < TILE_ROWS; r++) {
        _mm512_storeu_pd(sums + r * TILE_COLUMNS, t[r][0]);
        _mm512_storeu_pd(sums + r * TILE_COLUMNS + 8, t[r][1]);
    }
}

INLINE __m512 power_of_two(__m512i e) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(e, _mm512_set1_epi32(127)), 23));
}

/* hi * 65536 + u32(lo - (hi << 16)) as int64, then one rounding. */
INLINE __m512 widened(__m512i lo, __m512i hi) {
    const __m512i low = _mm512_sub_epi32(lo, _mm512_slli_epi32(hi, 16));
    __m256 halves[2];
    for (int i = 0; i < 2; i++) {
        const __m256i h = i ? _mm512_extracti32x8_epi32(hi, 1) : _mm512_castsi512_si256(hi);
        const __m256i l = i ? _mm512_extracti32x8_epi32(low, 1) : _mm512_castsi512_si256(low);
        const __m512i upper = _mm512_slli_epi64(_mm512_cvtepi32_epi64(h), 16);
        halves[i] = _mm512_cvtepi64_ps(_mm512_add_epi64(upper, _mm512_cvtepu32_epi64(l)));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(halves[0]), halves[1], 1);
}

/* 16 rounded sums, rescaled to one row of results. */
INLINE void rescale_row(__m512 x, int32_t row_exponent, const struct columns16 *columns, float *out) {
    const __m512i eb = _mm512_loadu_si512(columns->exponent), finite = _mm512_loadu_si512(columns->finite);
    const __m512i scale = _mm512_add_epi32(_mm512_set1_epi32(row_exponent), eb), half = _mm512_srai_epi32(scale, 1);
    const __m512 y = _mm512_mul_ps(_mm512_mul_ps(x, power_of_two(half)), power_of_two(_mm512_sub_epi32(scale, half)));
    const __mmask16 keep = row_exponent == NOT_FINITE ? 0 : _mm512_test_epi32_mask(finite, finite);
    const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(NAN_BITS));
    _mm512_storeu_ps(out, _mm512_mask_blend_ps(keep, nan, y));
}

TARGET void orebit_rescale16_avx512vnni(const int32_t *lo, const int32_t *hi, const int32_t *row_exponents,
                                        const struct columns16 *columns, float *const *out) {
    for (int r = 0; r < TILE_ROWS; r++) {
        const __m512i low = _mm512_load_si512(lo + r * TILE_COLUMNS);
        const __m512 x = hi == NULL ? _mm512_cvtepi32_ps(low) : widened(low, _mm512_load_si512(hi + r * TILE_COLUMNS));
        rescale_row(x, row_exponents[r], columns, out[r]);
    }
}

TARGET void orebit_rescale64_avx512vnni(const int64_t *sums, const int32_t *row_exponents,
                                        const struct columns16 *columns, float *const *out) {
    for (int r = 0; r < TILE_ROWS; r++) {
        const __m256 low = _mm512_cvtepi64_ps(_mm512_loadu_si512(sums + r * TILE_COLUMNS));
        const __m256 high = _mm512_cvtepi64_ps(_mm512_loadu_si512(sums + r * TILE_COLUMNS + 8));
        rescale_row(_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1), row_exponents[r], columns, out[r]);
    }
}

#endif
