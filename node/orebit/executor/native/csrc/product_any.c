/* Any integers, modulo 2^64. See product_any.h. */
#include "product_any.h"

#include <string.h>

enum { COLUMN_BLOCK = 64, K_BLOCK = 64 };

static uint64_t load(const void *base, int64_t type, int64_t at) {
    switch (type) {
    case ANY_I8: return (uint64_t)((const int8_t *)base)[at];
    case ANY_U8: return ((const uint8_t *)base)[at];
    case ANY_I16: return (uint64_t)((const int16_t *)base)[at];
    case ANY_U16: return ((const uint16_t *)base)[at];
    case ANY_I32: return (uint64_t)((const int32_t *)base)[at];
    default: return (uint64_t)((const int64_t *)base)[at];
    }
}

/* One block: rows [r0, r1) by columns [c0, c1). */
static void multiply(const int64_t *w, int64_t batch, int64_t r0, int64_t r1, int64_t c0, int64_t c1) {
    uint64_t sums[ANY_ROWS][COLUMN_BLOCK], right[K_BLOCK][COLUMN_BLOCK];
    const void *a = (const void *)(intptr_t)w[G_A], *b = (const void *)(intptr_t)w[G_B];
    memset(sums, 0, sizeof sums);
    for (int64_t k0 = 0; k0 < w[G_K]; k0 += K_BLOCK) {
        const int64_t k1 = k0 + K_BLOCK < w[G_K] ? k0 + K_BLOCK : w[G_K];
        for (int64_t k = k0; k < k1; k++)
            for (int64_t c = c0; c < c1; c++)
                right[k - k0][c - c0] =
                    load(b, w[G_B_TYPE], batch * w[G_B_BATCH] + c * w[G_B_COLUMN] + k * w[G_B_K]);
        for (int64_t r = r0; r < r1; r++)
            for (int64_t k = k0; k < k1; k++) {
                const uint64_t x = load(a, w[G_A_TYPE], batch * w[G_A_BATCH] + r * w[G_A_ROW] + k * w[G_A_K]);
                for (int64_t c = 0; c < c1 - c0; c++) sums[r - r0][c] += x * right[k - k0][c];
            }
    }
    uint64_t *out = (uint64_t *)(intptr_t)w[G_OUT] + batch * w[G_OUT_BATCH];
    for (int64_t r = r0; r < r1; r++)
        for (int64_t c = c0; c < c1; c++) out[r * w[G_OUT_ROW] + c * w[G_OUT_COLUMN]] = sums[r - r0][c - c0];
}

OREBIT_EXPORT void orebit_product_any(const int64_t *args, int64_t begin, int64_t end) {
    const int64_t blocks = (args[G_ROWS] + ANY_ROWS - 1) / ANY_ROWS;
    for (int64_t index = begin; index < end; index++) {
        const int64_t r0 = index % blocks * ANY_ROWS;
        const int64_t r1 = r0 + ANY_ROWS < args[G_ROWS] ? r0 + ANY_ROWS : args[G_ROWS];
        for (int64_t c0 = 0; c0 < args[G_COLUMNS]; c0 += COLUMN_BLOCK) {
            const int64_t c1 = c0 + COLUMN_BLOCK < args[G_COLUMNS] ? c0 + COLUMN_BLOCK : args[G_COLUMNS];
            multiply(args, index / blocks, r0, r1, c0, c1);
        }
    }
}
