/* The int16 tile in plain C: for machines without a faster one, and the model that the others are tested against. */
#include "product16.h"
#include "product16_tiles.h"

#include <stddef.h>

void orebit_tile16_portable(const int16_t *a, const int16_t *b, int64_t chunks, int64_t pairs, int32_t *lo,
                            int32_t *hi) {
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
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
}
