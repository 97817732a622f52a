/* The inner loops of product16.c, one an instruction set. */
#ifndef OREBIT_PRODUCT16_TILES_H
#define OREBIT_PRODUCT16_TILES_H

#include "orebit.h"

/* Chunks are a whole number of units of pairs. */
#define CHUNK_UNIT 4

/* For each of `chunks` chunks of `pairs` pairs: t = the tile's sums of products, lo += t, hi += t >> 16.
 * Where hi is NULL there is one chunk and lo = t. `pairs` is a positive multiple of CHUNK_UNIT. lo and hi are 64-byte
 * aligned [TILE_ROWS][TILE_COLUMNS]; panels are 32-byte aligned. */
typedef void tile16(const int16_t *a, const int16_t *b, int64_t chunks, int64_t pairs, int32_t *lo, int32_t *hi);

tile16 orebit_tile16_portable;
#if OREBIT_X86
tile16 orebit_tile16_avx2;
#endif

#endif
