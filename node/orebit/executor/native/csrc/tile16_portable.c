/* The int16 tile in plain C: for machines without a faster one, and the model that the others are tested against. */
#include "product16_tiles.h"

#include <stddef.h>
#include <string.h>

static void add_chunk(const int16_t *a, const int16_t *b, int64_t pairs, int32_t *lo, int32_t *hi) {
    uint32_t t[TILE] = {0};
    for (int64_t p = 0; p < pairs; p++, a += 2 * TILE_ROWS, b += 2 * TILE_COLUMNS)
        for (int r = 0; r < TILE_ROWS; r++)
            for (int c = 0; c < TILE_COLUMNS; c++)
                t[r * TILE_COLUMNS + c] +=
                    (uint32_t)((int32_t)a[2 * r] * b[2 * c]) + (uint32_t)((int32_t)a[2 * r + 1] * b[2 * c + 1]);
    for (int i = 0; i < TILE; i++) {
        const int32_t sum = (int32_t)t[i];
        lo[i] = hi == NULL ? sum : (int32_t)((uint32_t)lo[i] + t[i]);
        if (hi != NULL) hi[i] += sum >> 16;
    }
}

void orebit_tile16_portable(const struct panels16 *p, int64_t chunks, int64_t pairs, int32_t *lo, int32_t *hi) {
    for (int i = 0; i < p->rows; i++)
        for (int j = 0; j < p->columns; j++)
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                const int at = (i * p->columns + j) * TILE;
                const int16_t *a = (const int16_t *)p->a + (i * p->pairs_apart + chunk * pairs) * 2 * TILE_ROWS;
                const int16_t *b = (const int16_t *)p->b + (j * p->pairs_apart + chunk * pairs) * 2 * TILE_COLUMNS;
                add_chunk(a, b, pairs, lo + at, hi == NULL ? NULL : hi + at);
            }
}

void orebit_tile8_portable(const struct panels16 *p, int64_t pairs, int32_t *lo) {
    for (int i = 0; i < p->rows * p->columns * TILE; i++) {
        const int tile = i / TILE, r = i % TILE / TILE_COLUMNS, c = i % TILE_COLUMNS;
        const int8_t *a = (const int8_t *)p->a + tile / p->columns * p->pairs_apart * 2 * TILE_ROWS;
        const int8_t *b = (const int8_t *)p->b + tile % p->columns * p->pairs_apart * 2 * TILE_COLUMNS;
        uint32_t t = 0;
        for (int64_t g = 0; g < pairs / 2; g++)
            for (int k = 0; k < 4; k++)
                t += (uint32_t)((int32_t)a[(g * TILE_ROWS + r) * 4 + k] * b[(g * TILE_COLUMNS + c) * 4 + k]);
        lo[i] = (int32_t)t;
    }
}

static float rescaled(int64_t sum, int32_t row_exponent, int32_t column_exponent, int finite) {
    const int32_t scale = row_exponent + column_exponent, half = scale >> 1;
    const uint32_t bits[2] = {(uint32_t)(half + 127) << 23, (uint32_t)(scale - half + 127) << 23}, nan_bits = NAN_BITS;
    float power[2], nan;
    memcpy(power, bits, sizeof power);
    memcpy(&nan, &nan_bits, sizeof nan);
    return row_exponent == NOT_FINITE || !finite ? nan : (float)sum * power[0] * power[1];
}

void orebit_rescale16_portable(const int32_t *lo, const int32_t *hi, const int32_t *row_exponents,
                               const struct columns16 *columns, float *const *out) {
    for (int i = 0; i < TILE; i++) {
        const int r = i / TILE_COLUMNS, c = i % TILE_COLUMNS;
        const int64_t sum =
            hi == NULL ? lo[i] : (int64_t)hi[i] * 65536 + ((uint32_t)lo[i] - ((uint32_t)hi[i] << 16));
        out[r][c] = rescaled(sum, row_exponents[r], columns->exponent[c], columns->finite[c] != 0);
    }
}

void orebit_tile64_portable(const double *a, const double *b, int64_t k, double *sums) {
    memset(sums, 0, TILE * sizeof *sums);
    for (int64_t i = 0; i < k; i++)
        for (int r = 0; r < TILE_ROWS; r++)
            for (int c = 0; c < TILE_COLUMNS; c++)
                sums[r * TILE_COLUMNS + c] += a[i * TILE_ROWS + r] * b[i * TILE_COLUMNS + c];
}

void orebit_rescale64_portable(const int64_t *sums, const int32_t *row_exponents, const struct columns16 *columns,
                               float *const *out) {
    for (int i = 0; i < TILE; i++) {
        const int r = i / TILE_COLUMNS, c = i % TILE_COLUMNS;
        out[r][c] = rescaled(sums[i], row_exponents[r], columns->exponent[c], columns->finite[c] != 0);
    }
}
