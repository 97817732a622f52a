/* Exact products over blocks: packing, multiplication, rescaling. contraction.h says what is computed. */
#include "contraction.h"

#include "contraction_quantise.h"
#include "orebit.h"

#include <string.h>

/* What one part may pack beside its stack; whoever plans a product keeps blocks within it. */
#define SCRATCH_BYTES (768 * 1024)

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t over(int64_t count, int64_t block) { return (count + block - 1) / block; }

static int64_t panels_of(const struct contraction_side *side) { return over(side->lanes, side->panel); }

static void pack_whole(const struct contraction_side *side, const int64_t *distinct, char *packed, int64_t begin,
                       int64_t end) {
    const int64_t panels = panels_of(side), bytes = contraction_packed_bytes(side, 1, side->depth);
    while (begin < end) {
        const int64_t matrix = begin / panels, first = begin % panels, last = least(panels, first + end - begin);
        contraction_pack(side, distinct[matrix], first, last, 0, side->depth, packed + begin * bytes);
        begin += last - first;
    }
}

/* The range is (distinct left matrix, panel). */
OREBIT_EXPORT void orebit_contraction_pack_left(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    pack_whole(&c->left, c->left_distinct, c->left_packed, begin, end);
}

/* The range is (distinct right matrix, panel). */
OREBIT_EXPORT void orebit_contraction_pack_right(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    pack_whole(&c->right, c->right_distinct, c->right_packed, begin, end);
}

/* A side's panels [first, last) over depths [from, to): packed before, or packed into `scratch` now. */
static const void *panels(const struct contraction_side *side, const char *packed, const int64_t *matrix, int64_t o,
                          int64_t first, int64_t last, void *scratch) {
    if (packed != NULL) {
        return packed + (matrix[o] * panels_of(side) + first) * contraction_packed_bytes(side, 1, side->depth);
    }
    contraction_pack(side, o, first, last, 0, side->depth, scratch);
    return scratch;
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

/* tile[m][n] = sum over k of left[m][k] * right[n][k] of two panels. */
static void multiply_tile(const struct contraction *c, const char *left, const char *right, int64_t depth,
                          int64_t *tile) {
    const int64_t rows = c->left.panel, columns = c->right.panel;
    const int16_t *a = (const int16_t *)left, *b = (const int16_t *)right;
    memset(tile, 0, (size_t)(rows * columns) * sizeof *tile);
    for (int64_t pair = 0; 2 * pair < depth; pair++) {
        for (int64_t m = 0; m < rows; m++) {
            for (int64_t n = 0; n < columns; n++) {
                const int16_t *x = a + (pair * rows + m) * 2, *y = b + (pair * columns + n) * 2;
                tile[m * columns + n] += (int64_t)x[0] * y[0] + (int64_t)x[1] * y[1];
            }
        }
    }
}

static void add_tile(const struct contraction *c, const int64_t *tile, int64_t row, int64_t column, int64_t *sums) {
    const int64_t rows = least(c->left.panel, c->left.lanes - row), width = c->right.lanes;
    const int64_t columns = least(c->right.panel, width - column);
    for (int64_t m = 0; m < rows; m++) {
        for (int64_t n = 0; n < columns; n++) sums[(row + m) * width + column + n] += tile[m * c->right.panel + n];
    }
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

static void gather_exponents(const struct contraction_scale *scale, int64_t o, int64_t from, int64_t to, int32_t *into) {
    for (int64_t i = from; i < to; i++) into[i - from] = scale->exponents[scale->outer[o] + scale->offsets[i]];
}

/* One row of results: rescaled to f32, or as they are. */
static void store_row(const struct contraction *c, const int64_t *sums, int64_t at, int64_t count, int32_t row_exponent,
                      const int32_t *column_exponents) {
    if (c->bits == 0) {
        memcpy((int64_t *)c->out + at, sums, (size_t)count * sizeof *sums);
        return;
    }
    float *out = (float *)c->out + at;
    for (int64_t n = 0; n < count; n++) out[n] = rescale_one(sums[n], row_exponent, column_exponents[n], c->bits);
}

/* A part's own memory. */
struct scratch {
    _Alignas(64) char packed[SCRATCH_BYTES];
    _Alignas(64) int64_t tile[MAX_PANEL * MAX_PANEL];
    int32_t row_exponents[MAX_PANEL], column_exponents[MAX_PANEL];
};

static void multiply_panels(const struct contraction *c, const struct block *b, const char *left, const char *right,
                            int64_t row, int64_t column, struct scratch *scratch) {
    const int64_t rows = least(c->left.panel, b->rows_to - row), columns = least(c->right.panel, b->columns_to - column);
    multiply_tile(c, left, right, c->left.depth, scratch->tile);
    if (c->bits != 0) {
        gather_exponents(&c->row_scale, b->o, row, row + rows, scratch->row_exponents);
        gather_exponents(&c->column_scale, b->o, column, column + columns, scratch->column_exponents);
    }
    for (int64_t m = 0; m < rows; m++) {
        const int64_t at = c->outer[b->o] + (row + m) * c->row_step + column;
        const int64_t *sums = scratch->tile + m * c->right.panel;
        store_row(c, sums, at, columns, scratch->row_exponents[m], scratch->column_exponents);
    }
}

static void multiply_block(const struct contraction *c, int64_t index, struct scratch *scratch) {
    const struct block b = block_at(c, index);
    const int64_t row_bytes = contraction_packed_bytes(&c->left, 1, c->left.depth);
    const int64_t column_bytes = contraction_packed_bytes(&c->right, 1, c->right.depth);
    const int64_t first_row = b.rows_from / c->left.panel, last_row = over(b.rows_to, c->left.panel);
    const int64_t first_column = b.columns_from / c->right.panel, last_column = over(b.columns_to, c->right.panel);
    char *own = scratch->packed + (c->left_packed == NULL ? (last_row - first_row) * row_bytes : 0);
    const char *left = panels(&c->left, c->left_packed, c->left_matrix, b.o, first_row, last_row, scratch->packed);
    const char *right = panels(&c->right, c->right_packed, c->right_matrix, b.o, first_column, last_column, own);
    for (int64_t n = first_column; n < last_column; n++) {
        for (int64_t m = first_row; m < last_row; m++) {
            multiply_panels(c, &b, left + (m - first_row) * row_bytes, right + (n - first_column) * column_bytes,
                            m * c->left.panel, n * c->right.panel, scratch);
        }
    }
}

/* The range is (outer position, block of columns, block of rows). */
OREBIT_EXPORT void orebit_contraction_multiply(const int64_t *args, int64_t begin, int64_t end) {
    struct scratch scratch;
    for (int64_t index = begin; index < end; index++) multiply_block((const void *)args, index, &scratch);
}

/* A chunk of the depth of a product with few results: its sums, exact, in a slot of their own. */
static void multiply_chunk(const struct contraction *c, int64_t index, struct scratch *scratch) {
    const int64_t chunks = over(c->left.depth, c->chunk), o = index / chunks;
    const int64_t rows = panels_of(&c->left), columns = panels_of(&c->right), width = c->right.lanes;
    int64_t *sums = c->partial + index * c->left.lanes * width;
    const int64_t start = index % chunks * c->chunk, end = least(c->left.depth, start + c->chunk);
    memset(sums, 0, (size_t)(c->left.lanes * width) * sizeof *sums);
    for (int64_t k = start; k < end; k += c->depth_block) {
        const int64_t to = least(end, k + c->depth_block);
        const int64_t row_bytes = contraction_packed_bytes(&c->left, 1, to - k);
        const int64_t column_bytes = contraction_packed_bytes(&c->right, 1, to - k);
        char *right = scratch->packed + rows * row_bytes;
        contraction_pack(&c->left, o, 0, rows, k, to, scratch->packed);
        contraction_pack(&c->right, o, 0, columns, k, to, right);
        for (int64_t n = 0; n < columns; n++) {
            for (int64_t m = 0; m < rows; m++) {
                multiply_tile(c, scratch->packed + m * row_bytes, right + n * column_bytes, to - k, scratch->tile);
                add_tile(c, scratch->tile, m * c->left.panel, n * c->right.panel, sums);
            }
        }
    }
}

/* The range is (outer position, chunk of the depth). */
OREBIT_EXPORT void orebit_contraction_multiply_deep(const int64_t *args, int64_t begin, int64_t end) {
    struct scratch scratch;
    for (int64_t index = begin; index < end; index++) multiply_chunk((const void *)args, index, &scratch);
}

/* The range is (outer position, row): the chunks' sums added. */
OREBIT_EXPORT void orebit_contraction_finish(const int64_t *args, int64_t begin, int64_t end) {
    const struct contraction *c = (const void *)args;
    const int64_t rows = c->left.lanes, columns = c->right.lanes, chunks = over(c->left.depth, c->chunk);
    int64_t sums[MAX_PANEL];
    int32_t row_exponent = 0, column_exponents[MAX_PANEL];
    for (int64_t index = begin; index < end; index++) {
        const int64_t o = index / rows, m = index % rows;
        if (c->bits != 0) gather_exponents(&c->row_scale, o, m, m + 1, &row_exponent);
        for (int64_t n = 0; n < columns; n += MAX_PANEL) {
            const int64_t count = least(columns - n, MAX_PANEL);
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
