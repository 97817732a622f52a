/* The product that takes any integers of any strides, modulo 2^64: for what no packed product can hold. */
#ifndef OREBIT_PRODUCT_ANY_H
#define OREBIT_PRODUCT_ANY_H

#include "orebit.h"

/* Rows of one index of the range. */
#define ANY_ROWS 16

/* orebit_product_any: out[row, column] = sum over k of A[row, k] * B[column, k], int64.
 * Range: batch * blocks of ANY_ROWS rows. Strides count elements. */
enum product_any_word {
    G_A, G_B, G_OUT,       /* addresses */
    G_A_TYPE, G_B_TYPE,    /* enum any_type */
    G_ROWS, G_COLUMNS, G_K,
    G_A_BATCH, G_A_ROW, G_A_K,
    G_B_BATCH, G_B_COLUMN, G_B_K,
    G_OUT_BATCH, G_OUT_ROW, G_OUT_COLUMN,
    G_WORDS
};

/* As programs number their types (orebit/numerics/types.py). */
enum any_type { ANY_I8 = 1, ANY_U8, ANY_I16, ANY_U16, ANY_I32, ANY_I64 };

#endif
