// Exact products over packed digits: out[batch, row, column] = sum over k of a[batch, row, k] * b[batch, column, k].
//
// Packed: [digit][batch][row][DEPTH] bytes, DEPTH a multiple of 64. A block of 256 threads makes a tile of 64 rows and
// 128 columns over one of PARTS parts of the depth. Digits at places i and j meet in accumulator i + j; over a part,
// none of these leaves 32 bits (digits.py). `put(sum, batch, row, column)` takes every sum of the part once.

#define OB_TILE_ROWS 64
#define OB_TILE_COLUMNS 128
#define OB_TILE_DEPTH 64
// 64 bytes and 16 more: rows that lanes read together begin on different banks.
#define OB_TILE_STRIDE 5

OB_INLINE u32 ob_word(const uint4* row, i32 place) { return ((const u32*)row)[place]; }

template <int BATCH, int ROWS, int COLUMNS, int DEPTH, int LEFT, int RIGHT>
struct ObTiles {
  uint4 (*a)[OB_TILE_ROWS][OB_TILE_STRIDE];
  uint4 (*b)[OB_TILE_COLUMNS][OB_TILE_STRIDE];
  i32 batch, first_row, first_column;
  uint4 left[LEFT], right[RIGHT][2];

  __device__ __forceinline__ void load(const uint4* pa, const uint4* pb, i32 k) {
    const i32 line = (i32)threadIdx.x / 4, at = k / 16 + (i32)threadIdx.x % 4;
#pragma unroll
    for (i32 d = 0; d < LEFT; d++) {
      const i32 row = first_row + line;
      left[d] = row < ROWS ? pa[((i64)(d * BATCH + batch) * ROWS + row) * (DEPTH / 16) + at] : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (i32 d = 0; d < RIGHT; d++) {
#pragma unroll
      for (i32 half = 0; half < 2; half++) {
        const i32 column = first_column + line + 64 * half;
        right[d][half] = column < COLUMNS ? pb[((i64)(d * BATCH + batch) * COLUMNS + column) * (DEPTH / 16) + at]
                                          : make_uint4(0, 0, 0, 0);
      }
    }
  }

  __device__ __forceinline__ void stage() {
    const i32 line = (i32)threadIdx.x / 4, vector = (i32)threadIdx.x % 4;
#pragma unroll
    for (i32 d = 0; d < LEFT; d++) a[d][line][vector] = left[d];
#pragma unroll
    for (i32 d = 0; d < RIGHT; d++) {
      b[d][line][vector] = right[d][0];
      b[d][line + 64][vector] = right[d][1];
    }
  }
};

// Accumulators of one thread by tensor cores: 8 warps, two by four, of 32 x 32 results each.
template <int LEFT, int RIGHT>
struct ObTensor {
  i32 acc[LEFT + RIGHT - 1][2][4][4];

  __device__ __forceinline__ i32 row(i32 m, i32, i32 r) const {
    return (i32)threadIdx.x / 128 * 32 + m * 16 + (i32)threadIdx.x % 32 / 4 + r / 2 * 8;
  }
  __device__ __forceinline__ i32 column(i32, i32 n, i32 r) const {
    return (i32)threadIdx.x / 32 % 4 * 32 + n * 8 + (i32)threadIdx.x % 4 * 2 + r % 2;
  }

  template <class Tiles>
  __device__ __forceinline__ void multiply(const Tiles& tiles) {
    const i32 lane = (i32)threadIdx.x % 32, group = lane / 4, member = lane % 4;
    const i32 rows = (i32)threadIdx.x / 128 * 32, columns = (i32)threadIdx.x / 32 % 4 * 32;
#pragma unroll
    for (i32 half = 0; half < 2; half++) {
      const i32 word = half * 8 + member;
      u32 x[LEFT][2][4];
#pragma unroll
      for (i32 d = 0; d < LEFT; d++) {
#pragma unroll
        for (i32 m = 0; m < 2; m++) {
          const uint4* above = tiles.a[d][rows + m * 16 + group];
          const uint4* below = tiles.a[d][rows + m * 16 + group + 8];
          x[d][m][0] = ob_word(above, word);
          x[d][m][1] = ob_word(below, word);
          x[d][m][2] = ob_word(above, word + 4);
          x[d][m][3] = ob_word(below, word + 4);
        }
      }
#pragma unroll
      for (i32 n = 0; n < 4; n++) {
#pragma unroll
        for (i32 e = 0; e < RIGHT; e++) {
          const uint4* column = tiles.b[e][columns + n * 8 + group];
          const u32 y[2] = {ob_word(column, word), ob_word(column, word + 4)};
#pragma unroll
          for (i32 d = 0; d < LEFT; d++) {
#pragma unroll
            for (i32 m = 0; m < 2; m++) ob_mma(acc[d + e][m][n], x[d][m], y);
          }
        }
      }
    }
  }
};

// The same by products of four bytes: 16 by 16 threads, each with four rows and eight columns 16 apart.
template <int LEFT, int RIGHT>
struct ObPlain {
  i32 acc[LEFT + RIGHT - 1][2][4][4];

  __device__ __forceinline__ i32 row(i32, i32 n, i32) const { return (i32)threadIdx.x / 16 * 4 + n; }
  __device__ __forceinline__ i32 column(i32 m, i32, i32 r) const { return (i32)threadIdx.x % 16 + 16 * (4 * m + r); }

  template <class Tiles>
  __device__ __forceinline__ void multiply(const Tiles& tiles) {
#pragma unroll 1
    for (i32 word = 0; word < OB_TILE_DEPTH / 4; word++) {
      i32 x[LEFT][4];
#pragma unroll
      for (i32 d = 0; d < LEFT; d++) {
#pragma unroll
        for (i32 n = 0; n < 4; n++) x[d][n] = (i32)ob_word(tiles.a[d][row(0, n, 0)], word);
      }
#pragma unroll
      for (i32 e = 0; e < RIGHT; e++) {
#pragma unroll
        for (i32 m = 0; m < 2; m++) {
#pragma unroll
          for (i32 r = 0; r < 4; r++) {
            const i32 y = (i32)ob_word(tiles.b[e][column(m, 0, r)], word);
#pragma unroll
            for (i32 d = 0; d < LEFT; d++) {
#pragma unroll
              for (i32 n = 0; n < 4; n++) acc[d + e][m][n][r] = __dp4a(x[d][n], y, acc[d + e][m][n][r]);
            }
          }
        }
      }
    }
  }
};

template <class Sums, int BATCH, int ROWS, int COLUMNS, int DEPTH, int PART, int LEFT, int RIGHT, class Put>
OB_INLINE void ob_product(const uint4* pa, const uint4* pb, const Put& put) {
  constexpr int SETS = LEFT + RIGHT - 1, PARTS = (DEPTH + PART - 1) / PART;
  constexpr u32 DOWN = (ROWS + OB_TILE_ROWS - 1) / OB_TILE_ROWS;
  constexpr u32 ACROSS = (COLUMNS + OB_TILE_COLUMNS - 1) / OB_TILE_COLUMNS;
  __shared__ uint4 a[LEFT][OB_TILE_ROWS][OB_TILE_STRIDE];
  __shared__ uint4 b[RIGHT][OB_TILE_COLUMNS][OB_TILE_STRIDE];
  const u32 tile = blockIdx.x / ACROSS, part = tile / DOWN;
  ObTiles<BATCH, ROWS, COLUMNS, DEPTH, LEFT, RIGHT> tiles;
  tiles.a = a;
  tiles.b = b;
  tiles.batch = (i32)(part / PARTS);
  tiles.first_row = (i32)(tile % DOWN) * OB_TILE_ROWS;
  tiles.first_column = (i32)(blockIdx.x % ACROSS) * OB_TILE_COLUMNS;
  const i32 begin = (i32)(part % PARTS) * PART, end = ob_less<i32>(begin + PART, DEPTH);

  Sums sums;
#pragma unroll
  for (i32 s = 0; s < SETS; s++) {
#pragma unroll
    for (i32 at = 0; at < 32; at++) sums.acc[s][at / 16][at / 4 % 4][at % 4] = 0;
  }
  tiles.load(pa, pb, begin);
  for (i32 k = begin; k < end; k += OB_TILE_DEPTH) {
    tiles.stage();
    __syncthreads();
    if (k + OB_TILE_DEPTH < end) tiles.load(pa, pb, k + OB_TILE_DEPTH);
    sums.multiply(tiles);
    __syncthreads();
  }
#pragma unroll
  for (i32 m = 0; m < 2; m++) {
#pragma unroll
    for (i32 n = 0; n < 4; n++) {
#pragma unroll
      for (i32 r = 0; r < 4; r++) {
        i64 sum = 0;
#pragma unroll
        for (i32 s = SETS - 1; s >= 0; s--) sum = sum * 256 + sums.acc[s][m][n][r];
        const i32 row = tiles.first_row + sums.row(m, n, r), column = tiles.first_column + sums.column(m, n, r);
        if (row < ROWS && column < COLUMNS) put(sum, tiles.batch, row, column);
      }
    }
  }
}
