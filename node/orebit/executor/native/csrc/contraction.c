/* Exact products over blocks: packing, multiplication, rescaling. contraction.h says what is computed. */
#include "contraction.h"

#include "contraction_quantise.h"
#include "orebit.h"
#include "product16.h"

#include <string.h>

/* What one part may pack beside its stack; whoever plans a product keeps blocks within it. */
#define SCRATCH_BYTES (512 * 1024)
#define MAX_LANES (32 * 1024)
/* Columns that the chunks' sums are added for at once. */
#define FINISH 64
#define MAX_PANELS (8 * 1024)

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t over(int64_t count, int64_t block) { return (count + block - 1) / block; }

static int64_t panels_of(const struct contraction_side *side) { return over(side->lanes, side->panel); }

static void pack_whole(const struct contraction_side *side, const struct contraction_whole *whole, int64_t begin,
                       int64_t end) {
    const int64_t count = panels_of(side), bytes = contraction_packed_bytes(side, 1, side->depth);
    while (begin < end) {
        const int64_t first = begin % count, last = least(count, first + end - begin);
        char *packed = (char *)whole->packed + begin * bytes;
        contraction_pack(side, whole->distinct[begin / count], first, last, 0, side->depth, packed,
                         whole->norms + begin * NORMS);
        begin += last - first;
    }
}

/* The range is (distinct left matrix, panel). */
OREBIT_EXPORT void orebit_contraction_pack_left(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    pack_whole(&c->left, &c->left_whole, begin, end);
}

/* The range is (distinct right matrix, panel). */
OREBIT_EXPORT void orebit_contraction_pack_right(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    pack_whole(&c->right, &c->right_whole, begin, end);
}

/* 2^exponent by the map's own wrapping arithmetic. */
static float power_of_two(int32_t exponent) {
    const uint32_t word = (uint32_t)(exponent + 127) << 23;
    float power;
    memcpy(&power, &word, sizeof power);
    return power;
}

/* The rescale map, bit for bit (docs/numerics.md). */
static float rescale_one(int64_t sum, int32_t row, int32_t column, int64_t bits) {
    const int32_t scale = row + column - 2 * ((int32_t)bits - 1), half = scale >> 1;
    const float value = (float)sum * power_of_two(half) * power_of_two(scale - half);
    return (row > column ? row : column) == NOT_FINITE || value != value ? __builtin_nanf("") : value;
}

struct block {
    int64_t o, rows_from, rows_to, columns_from, columns_to;
};

static struct block block_at(const struct contraction *c, int64_t index) {
    const int64_t across = over(c->right.lanes, c->column_block), down = over(c->left.lanes, c->row_block);
    struct block b;
    b.o = index / (down * across);
    /* Neighbouring parts share rows of the block of columns that they packed or read. */
    const int64_t column = index / down % across, row = index % down;
    b.rows_from = row * c->row_block;
    b.rows_to = least(c->left.lanes, b.rows_from + c->row_block);
    b.columns_from = column * c->column_block;
    b.columns_to = least(c->right.lanes, b.columns_from + c->column_block);
    return b;
}

static void gather_exponents(const struct contraction_scale *scale, int64_t o, int64_t from, int64_t to, int16_t *into) {
    for (int64_t i = from; i < to; i++) into[i - from] = scale->exponents[scale->outer[o] + scale->offsets[i]];
}

/* One row of results: rescaled to f32, or as they are. */
static void store_row(const struct contraction *c, const int64_t *sums, int64_t at, int64_t count, int16_t row_exponent,
                      const int16_t *column_exponents) {
    if (c->bits == 0) {
        memcpy((int64_t *)c->out + at, sums, (size_t)count * sizeof *sums);
        return;
    }
    float *out = (float *)c->out + at;
    for (int64_t n = 0; n < count; n++) out[n] = rescale_one(sums[n], row_exponent, column_exponents[n], c->bits);
}

/* A part's own memory: panels, their norms, and the exponents of its rows and columns. */
struct scratch {
    _Alignas(64) char packed[SCRATCH_BYTES];
    float norms[MAX_PANELS][NORMS];
    int16_t exponents[MAX_LANES];
};

/* A side of one part: where its panels and their norms are. */
struct operand {
    const char *panels;
    const float *norms;
};

/* The product of two packed blocks, by the machine's kernel; `out` is the place of its first result. */
static void multiply_packed(const struct contraction *c, const struct block *b, struct operand left,
                            struct operand right, int64_t depth, void *out, int64_t row_step, struct scratch *scratch) {
    const int64_t rows = b->rows_to - b->rows_from, columns = b->columns_to - b->columns_from;
    const int64_t unit = c->left.depth_unit;
    int64_t w[P_WORDS] = {0};
    w[P_A] = (int64_t)(intptr_t)left.panels;
    w[P_B] = (int64_t)(intptr_t)right.panels;
    w[P_OUT] = (int64_t)(intptr_t)out;
    w[P_ROWS] = w[P_ROW_GROUP] = rows;
    w[P_COLUMNS] = w[P_COLUMN_GROUP] = columns;
    w[P_PAIRS] = over(depth, unit) * unit / 2;
    w[P_OUT_ROW] = row_step;
    w[P_OUT_COLUMN] = 1;
    w[P_ROW_BLOCK] = over(rows, c->left.panel);
    w[P_COLUMN_BLOCK] = over(columns, c->right.panel);
    w[P_PROVEN_PAIRS] = c->spill / 2;
    if (c->left.packed_type == PACKED_I16) {
        w[P_A_NORMS] = (int64_t)(intptr_t)left.norms;
        w[P_B_NORMS] = (int64_t)(intptr_t)right.norms;
    }
    if (c->bits != 0 && c->partial == NULL) {
        w[P_RESCALED] = 1;
        w[P_SHIFT] = 2 * (c->bits - 1);
        gather_exponents(&c->row_scale, b->o, b->rows_from, b->rows_to, scratch->exponents);
        gather_exponents(&c->column_scale, b->o, b->columns_from, b->columns_to, scratch->exponents + rows);
        w[P_EA] = (int64_t)(intptr_t)scratch->exponents;
        w[P_EB] = (int64_t)(intptr_t)(scratch->exponents + rows);
        w[P_EA_ROW] = w[P_EB_COLUMN] = 1;
    }
    c->product(w, 0, 1);
}

/* A side's panels [first, last), packed before, or packed now into `into`. */
static struct operand panels(const struct contraction_side *side, const struct contraction_whole *whole, int64_t o,
                             int64_t first, int64_t last, int64_t from, int64_t to, char *into, float *norms) {
    if (whole->packed != NULL) {
        const int64_t at = whole->matrix[o] * panels_of(side) + first;
        const char *packed = (const char *)whole->packed + at * contraction_packed_bytes(side, 1, side->depth);
        return (struct operand){packed, whole->norms + at * NORMS};
    }
    contraction_pack(side, o, first, last, from, to, into, norms);
    return (struct operand){into, norms};
}

/* Multiplies one block over depths [from, to). */
static void multiply_block(const struct contraction *c, const struct block *b, int64_t from, int64_t to, void *out,
                           int64_t row_step, struct scratch *scratch) {
    const int64_t first_row = b->rows_from / c->left.panel, last_row = over(b->rows_to, c->left.panel);
    const int64_t first_column = b->columns_from / c->right.panel, last_column = over(b->columns_to, c->right.panel);
    const int64_t own = c->left_whole.packed == NULL ? last_row - first_row : 0;
    char *beside = scratch->packed + contraction_packed_bytes(&c->left, own, to - from);
    const struct operand left = panels(&c->left, &c->left_whole, b->o, first_row, last_row, from, to, scratch->packed,
                                       scratch->norms[0]);
    const struct operand right = panels(&c->right, &c->right_whole, b->o, first_column, last_column, from, to, beside,
                                        scratch->norms[own]);
    multiply_packed(c, b, left, right, to - from, out, row_step, scratch);
}

/* The range is (outer position, block of columns, block of rows). */
OREBIT_EXPORT void orebit_contraction_multiply(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    struct scratch scratch;
    for (int64_t index = begin; index < end; index++) {
        const struct block b = block_at(c, index);
        const int64_t at = c->outer[b.o] + b.rows_from * c->row_step + b.columns_from;
        char *out = (char *)c->out + at * (c->bits != 0 ? (int64_t)sizeof(float) : (int64_t)sizeof(int64_t));
        multiply_block(c, &b, 0, c->left.depth, out, c->row_step, &scratch);
    }
}

/* A chunk of the depth of a product with few results: its sums, in a slot of their own. Range: (outer, chunk). */
OREBIT_EXPORT void orebit_contraction_multiply_deep(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    struct scratch scratch;
    const int64_t chunks = over(c->left.depth, c->chunk);
    for (int64_t index = begin; index < end; index++) {
        const struct block b = {index / chunks, 0, c->left.lanes, 0, c->right.lanes};
        const int64_t from = index % chunks * c->chunk, to = least(c->left.depth, from + c->chunk);
        int64_t *sums = c->partial + index * c->left.lanes * c->right.lanes;
        multiply_block(c, &b, from, to, sums, c->right.lanes, &scratch);
    }
}

/* The range is (outer position, row): the chunks' sums added. */
OREBIT_EXPORT void orebit_contraction_finish(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    const int64_t rows = c->left.lanes, columns = c->right.lanes, chunks = over(c->left.depth, c->chunk);
    int64_t sums[FINISH];
    int16_t row_exponent = 0, column_exponents[FINISH];
    for (int64_t index = begin; index < end; index++) {
        const int64_t o = index / rows, m = index % rows;
        if (c->bits != 0) gather_exponents(&c->row_scale, o, m, m + 1, &row_exponent);
        for (int64_t n = 0; n < columns; n += FINISH) {
            const int64_t count = least(columns - n, FINISH);
            memset(sums, 0, sizeof sums);
            for (int64_t k = 0; k < chunks; k++) {
                const int64_t *part = c->partial + ((o * chunks + k) * rows + m) * columns + n;
                for (int64_t i = 0; i < count; i++) sums[i] += part[i];
            }
            if (c->bits != 0) gather_exponents(&c->column_scale, o, n, n + count, column_exponents);
            store_row(c, sums, c->outer[o] + m * c->row_step + n, count, row_exponent, column_exponents);
        }
    }
}
