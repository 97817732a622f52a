/* Whether the kernels of an instruction set give the portable kernels' bits on this very machine: what does not is not
 * used, be it for an assembler's, an emulator's or a processor's fault. */
#include "agreement.h"

#include "product16.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 37, COLUMNS = 53, MOST_PAIRS = 1048, RESULTS = ROWS * COLUMNS };
enum { ROW_PANELS = (ROWS + TILE_ROWS - 1) / TILE_ROWS, COLUMN_PANELS = (COLUMNS + TILE_COLUMNS - 1) / TILE_COLUMNS };

struct trial {
    _Alignas(64) char a[ROW_PANELS * TILE_ROWS * MOST_PAIRS * 2 * 8];
    _Alignas(64) char b[COLUMN_PANELS * TILE_COLUMNS * MOST_PAIRS * 2 * 8];
    int64_t out[2][RESULTS];
    int16_t row_exponents[ROWS], column_exponents[COLUMNS];
    uint64_t seed;
};

/* xorshift64: any values will do, the same in every run. */
static uint64_t draw(struct trial *t) {
    t->seed ^= t->seed << 13;
    t->seed ^= t->seed >> 7;
    t->seed ^= t->seed << 17;
    return t->seed;
}

/* Digits up to `largest`, every eighth as large as can be. */
static void fill(struct trial *t, char *panels, int64_t count, int bytes, int64_t largest) {
    for (int64_t i = 0; i < count; i++) {
        const uint64_t word = draw(t);
        const int64_t any = (int64_t)(word >> 8) % (2 * largest + 1);
        const int64_t q = word % 8 == 0 ? largest : (any < 0 ? -any : any) - largest;
        if (bytes == 1) ((int8_t *)panels)[i] = (int8_t)q;
        else if (bytes == 2) ((int16_t *)panels)[i] = (int16_t)q;
        else ((double *)panels)[i] = (double)q;
    }
}

static void run(struct trial *t, orebit_kernel *kernel, int64_t pairs, int64_t proven, int rescaled, int64_t *out) {
    int64_t w[P_WORDS] = {0};
    w[P_A] = (int64_t)(intptr_t)t->a;
    w[P_B] = (int64_t)(intptr_t)t->b;
    w[P_OUT] = (int64_t)(intptr_t)out;
    w[P_ROWS] = w[P_ROW_GROUP] = ROWS;
    w[P_COLUMNS] = w[P_COLUMN_GROUP] = w[P_OUT_ROW] = COLUMNS;
    w[P_PAIRS] = pairs;
    w[P_OUT_COLUMN] = w[P_EA_ROW] = w[P_EB_COLUMN] = 1;
    w[P_ROW_BLOCK] = ROW_PANELS;
    w[P_COLUMN_BLOCK] = COLUMN_PANELS;
    w[P_PROVEN_PAIRS] = proven;
    w[P_RESCALED] = rescaled;
    w[P_SHIFT] = 28;
    w[P_EA] = (int64_t)(intptr_t)t->row_exponents;
    w[P_EB] = (int64_t)(intptr_t)t->column_exponents;
    memset(out, 0, RESULTS * sizeof *out);
    kernel(w, 0, 1);
}

/* Digits up to `largest` over `pairs` pairs, of which `proven` are surely exact at once. */
struct sample {
    int bytes;
    int64_t largest, pairs, proven;
};

static const struct sample cases[] = {
    {1, 127, 8, 66572},     {1, 127, 1048, 66572},                        /* short and long */
    {2, 16383, 8, 4},       {2, 16383, 1048, 4},    {2, 8191, 1048, 16},          /* carry-save */
    {2, 1000, 40, 1073},    {2, 127, 1048, 66572},                                /* in 32 bits alone */
    {8, 2097151, 40, 1024}, {8, 65535, 1048, 1 << 20}, {8, 2097151, 1048, 1024},
};

static int agrees_on(struct trial *t, orebit_kernel *fast, orebit_kernel *plain, int bytes) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct sample c = cases[i];
        if (c.bytes != bytes) continue;
        fill(t, t->a, ROW_PANELS * TILE_ROWS * c.pairs * 2, bytes, c.largest);
        fill(t, t->b, COLUMN_PANELS * TILE_COLUMNS * c.pairs * 2, bytes, c.largest);
        for (int rescaled = 0; rescaled < 2; rescaled++) {
            run(t, fast, c.pairs, c.proven, rescaled, t->out[0]);
            run(t, plain, c.pairs, c.proven, rescaled, t->out[1]);
            if (memcmp(t->out[0], t->out[1], sizeof t->out[0]) != 0) return 0;
        }
    }
    return 1;
}

OREBIT_EXPORT int orebit_agrees(orebit_kernel *fast, orebit_kernel *plain, int bytes) {
    struct trial *t = aligned_alloc(64, (sizeof *t + 63) / 64 * 64);
    if (t == NULL) return 0;
    t->seed = UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < ROWS; i++) t->row_exponents[i] = (int16_t)(i == 7 ? NOT_FINITE : (int)(draw(t) % 229) - 100);
    for (int i = 0; i < COLUMNS; i++) t->column_exponents[i] = (int16_t)(i == 9 ? NOT_FINITE : (int)(draw(t) % 229) - 100);
    const int agreed = agrees_on(t, fast, plain, bytes);
    free(t);
    return agreed;
}
