// What every generated kernel begins with. The bits are those of docs/numerics.md: each operation rounds on its own.
//
// An f32 in memory is its 32 bits: a NaN's bits are looked at as integers only, where no compiler may change them.

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#define OB_INLINE static __device__ __forceinline__
#define OB_WHOLE_WARP 0xffffffffu

OB_INLINE u32 ob_canonical(float x) {
  u32 bits = __float_as_uint(x);
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
}

// An i32 that orders f32 as `max` does: -0 below +0, NaN above all; its own inverse on bits.
OB_INLINE i32 ob_turned(u32 bits) { return (i32)(bits ^ ((u32)((i32)bits >> 31) & 0x7fffffffu)); }
OB_INLINE i32 ob_order_key(float x) { return ob_turned(ob_canonical(x)); }
OB_INLINE float ob_of_order_key(i32 key) { return __uint_as_float((u32)ob_turned((u32)key)); }

OB_INLINE float ob_fmin(float x, float y) {
  if (x != x || y != y) return __uint_as_float(0x7fc00000u);
  if (x < y) return x;
  return y < x ? y : __uint_as_float(__float_as_uint(x) | __float_as_uint(y));
}

OB_INLINE float ob_fmax(float x, float y) {
  if (x != x || y != y) return __uint_as_float(0x7fc00000u);
  if (x > y) return x;
  return y > x ? y : __uint_as_float(__float_as_uint(x) & __float_as_uint(y));
}

// Half-even, saturating, NaN to 0. What the conversions do beyond their ends is not relied on.
OB_INLINE i64 ob_to_i64(float x) {
  if (x != x) return 0;
  if (x >= 9223372036854775808.0f) return 0x7fffffffffffffffLL;
  if (x <= -9223372036854775808.0f) return -0x7fffffffffffffffLL - 1;
  return __float2ll_rn(x);
}

// The same, saturating at the ends of i32 (above: at the greatest f32 below 2^31).
OB_INLINE i32 ob_to_i32(float x) {
  if (x != x) return 0;
  if (x >= 2147483520.0f) return 2147483520;
  if (x <= -2147483648.0f) return -2147483647 - 1;
  return __float2int_rn(x);
}

OB_INLINE i64 ob_div64(i64 x, i64 y) {
  if (y == 0) return 0;
  return y == -1 ? (i64)(0 - (u64)x) : x / y;
}
OB_INLINE i64 ob_rem64(i64 x, i64 y) { return y == 0 || y == -1 ? 0 : x % y; }
OB_INLINE i32 ob_div32(i32 x, i32 y) {
  if (y == 0) return 0;
  return y == -1 ? (i32)(0 - (u32)x) : x / y;
}
OB_INLINE i32 ob_rem32(i32 x, i32 y) { return y == 0 || y == -1 ? 0 : x % y; }
OB_INLINE u32 ob_divu(u32 x, u32 y) { return y == 0 ? 0 : x / y; }
OB_INLINE u32 ob_remu(u32 x, u32 y) { return y == 0 ? 0 : x % y; }

OB_INLINE u32 ob_rotate(u32 x, u32 count) { return (x << (count & 31)) | (x >> ((32 - count) & 31)); }

OB_INLINE i64 ob_abs64(i64 x) { return x < 0 ? (i64)(0 - (u64)x) : x; }
OB_INLINE u32 ob_abs32(i32 x) { return x < 0 ? 0 - (u32)x : (u32)x; }

template <class V> OB_INLINE V ob_less(V x, V y) { return x < y ? x : y; }
template <class V> OB_INLINE V ob_more(V x, V y) { return x > y ? x : y; }
template <class V> OB_INLINE V ob_sum(V x, V y) { return x + y; }

// The digit at place d of q in base 256, every digit in -128..127: q = sum of digit[d] * 256^d.
OB_INLINE i32 ob_digit(i32 q, int d) {
  for (; d > 0; d--) q = (q - (i32)(i8)q) >> 8;
  return (i32)(i8)q;
}

// d += a b over bytes: a is 16 x 32 by rows, b 32 x 8 by columns; lanes hold what the PTX manual says for m16n8k32.
#ifndef OB_EMULATED
OB_INLINE void ob_mma(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
#endif
