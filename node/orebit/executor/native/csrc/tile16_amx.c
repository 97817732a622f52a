/* Exact int16 products on AMX: a digit's two bytes, the high one signed and the low one unsigned, are multiplied as int8.
 *
 * a * b = hh * 2^16 + (hl + lh) * 2^8 + ll, each summed by an instruction and an accumulator of its own. */
#include "product16_tiles.h"

#if OREBIT_AMX

#ifdef OREBIT_EMULATION
#include OREBIT_EMULATION
#else
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-int8")))
#endif

#include <string.h>

#define SIDE 16         /* rows and columns of an accumulator */
#define STEP 64         /* values of k in a tile */
#define CHUNK 1024      /* values of k that are split into bytes at once; ll stays below 2^26 */
#define PANEL_PAIRS (STEP / 2)
#define TILE_BYTES (SIDE * STEP)
#define ROW_GROUPS (AMX_ROW_PANELS * TILE_ROWS / SIDE)

struct digits {
    _Alignas(64) int8_t a[ROW_GROUPS][CHUNK / STEP][2][TILE_BYTES];          /* high, low: [row][k] */
    _Alignas(64) int8_t b[AMX_COLUMN_PANELS][CHUNK / STEP][2][TILE_BYTES];   /* [four of k][column][4] */
    _Alignas(64) int32_t sums[4][SIDE * SIDE];                               /* hh, hl, lh, ll */
};

/* Four rows over 16 values of k: pairs p to p + 7 of a panel of A, to byte `at` of four rows of a tile. */
static inline TARGET void split_a(const int16_t *pairs, int8_t *high, int8_t *low) {
    const __m512i by_row = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    /* In each 16 bytes, eight digits: their low bytes, then their high ones. */
    const __m512i bytes = _mm512_set4_epi32(0x0f0d0b09, 0x07050301, 0x0e0c0a08, 0x06040200);
    __m512i half[2];
    for (int i = 0; i < 2; i++)
        half[i] = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(by_row, _mm512_loadu_si512(pairs + 32 * i)), bytes);
    _Alignas(64) int8_t lows[64], highs[64];
    _mm512_store_si512(lows, _mm512_unpacklo_epi64(half[0], half[1]));
    _mm512_store_si512(highs, _mm512_unpackhi_epi64(half[0], half[1]));
    for (int r = 0; r < TILE_ROWS; r++) {
        memcpy(low + r * STEP, lows + 16 * r, 16);
        memcpy(high + r * STEP, highs + 16 * r, 16);
    }
}

/* Sixteen columns over four values of k: two pairs of a panel of B. */
static inline TARGET void split_b(const int16_t *pairs, int8_t *high, int8_t *low) {
    /* In each four bytes, two digits: their low bytes, then their high ones. */
    const __m512i bytes = _mm512_set4_epi32(0x0f0d0e0c, 0x0b090a08, 0x07050604, 0x03010200);
    const __m512i first = _mm512_shuffle_epi8(_mm512_loadu_si512(pairs), bytes);
    const __m512i second = _mm512_shuffle_epi8(_mm512_loadu_si512(pairs + 2 * TILE_COLUMNS), bytes);
    const __mmask32 odd = 0xaaaaaaaa;
    _mm512_store_si512(low, _mm512_mask_blend_epi16(odd, first, _mm512_slli_epi32(second, 16)));
    _mm512_store_si512(high, _mm512_mask_blend_epi16(odd, _mm512_srli_epi32(first, 16), second));
}

static TARGET void split(struct digits *d, const struct panels16 *p, int64_t from, int64_t pairs) {
    const int64_t steps = ceil_div(pairs, PANEL_PAIRS);
    /* What no panel fills: the rest of the last rows, and of the last tiles along k. */
    if (p->rows * TILE_ROWS % SIDE) memset(d->a[p->rows * TILE_ROWS / SIDE], 0, (size_t)steps * sizeof d->a[0][0]);
    for (int64_t r = 0; r < ceil_div(p->rows * TILE_ROWS, SIDE); r++) memset(d->a[r][steps - 1], 0, sizeof d->a[r][0]);
    for (int64_t c = 0; c < p->columns; c++) memset(d->b[c][steps - 1], 0, sizeof d->b[c][0]);
    for (int64_t r = 0; r < p->rows; r++) {
        const int16_t *panel = (const int16_t *)p->a + (r * p->pairs_apart + from) * 2 * TILE_ROWS;
        for (int64_t i = 0; i < pairs; i += 8) {
            const int64_t at = r % (SIDE / TILE_ROWS) * TILE_ROWS * STEP + i % PANEL_PAIRS * 2;
            int8_t(*to)[TILE_BYTES] = d->a[r * TILE_ROWS / SIDE][i / PANEL_PAIRS];
            split_a(panel + i * 2 * TILE_ROWS, to[0] + at, to[1] + at);
        }
    }
    for (int64_t c = 0; c < p->columns; c++) {
        const int16_t *panel = (const int16_t *)p->b + (c * p->pairs_apart + from) * 2 * TILE_COLUMNS;
        for (int64_t i = 0; i < pairs; i += 2) {
            const int64_t at = i % PANEL_PAIRS / 2 * TILE_COLUMNS * 4;
            int8_t(*to)[TILE_BYTES] = d->b[c][i / PANEL_PAIRS];
            split_b(panel + i * 2 * TILE_COLUMNS, to[0] + at, to[1] + at);
        }
    }
}

static TARGET void multiply_split(struct digits *d, int64_t row_group, int64_t column, int64_t steps) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < steps; i++) {
        _tile_loadd(4, d->a[row_group][i][0], STEP);
        _tile_loadd(6, d->b[column][i][0], STEP);
        _tile_loadd(5, d->a[row_group][i][1], STEP);
        _tile_loadd(7, d->b[column][i][1], STEP);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbuud(3, 5, 7);
    }
    _tile_stored(0, d->sums[0], STEP);
    _tile_stored(1, d->sums[1], STEP);
    _tile_stored(2, d->sums[2], STEP);
    _tile_stored(3, d->sums[3], STEP);
}

/* Adds one accumulator's 16 rows to the sums of up to four tiles. */
static TARGET void add_sums(const struct digits *d, const struct panels16 *p, int64_t row_group, int64_t column,
                            int64_t *sums) {
    for (int64_t row = 0; row < SIDE; row++) {
        const int64_t panel = row_group * (SIDE / TILE_ROWS) + row / TILE_ROWS;
        if (panel >= p->rows) return;
        int64_t *to = sums + (panel * p->columns + column) * TILE + row % TILE_ROWS * TILE_COLUMNS;
        for (int c = 0; c < TILE_COLUMNS; c++) {
            const int64_t at = row * SIDE + c;
            to[c] += (int64_t)d->sums[0][at] * 65536 + ((int64_t)d->sums[1][at] + d->sums[2][at]) * 256 + d->sums[3][at];
        }
    }
}

TARGET void orebit_sums16_amx(const struct panels16 *p, int64_t *sums) {
    struct digits d;
    const struct {
        uint8_t palette, start, reserved[14];
        uint16_t column_bytes[16];
        uint8_t rows[16];
    } shapes = {1, 0, {0}, {STEP, STEP, STEP, STEP, STEP, STEP, STEP, STEP}, {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};
    memset(sums, 0, (size_t)(p->rows * p->columns * TILE) * sizeof *sums);
    _tile_loadconfig(&shapes);
    for (int64_t from = 0; from < p->pairs_apart; from += CHUNK / 2) {
        const int64_t left = p->pairs_apart - from, pairs = left < CHUNK / 2 ? left : CHUNK / 2;
        split(&d, p, from, pairs);
        for (int64_t c = 0; c < p->columns; c++)
            for (int64_t r = 0; r < ceil_div(p->rows * TILE_ROWS, SIDE); r++) {
                multiply_split(&d, r, c, ceil_div(pairs, PANEL_PAIRS));
                add_sums(&d, p, r, c, sums);
            }
    }
    _tile_release();
}

#endif
