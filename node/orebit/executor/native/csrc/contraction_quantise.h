/* The quantise map of exact products, bit for bit (docs/numerics.md), and the element types that kernels read. */
#ifndef OREBIT_CONTRACTION_QUANTISE_H
#define OREBIT_CONTRACTION_QUANTISE_H

#include "orebit.h"

#include <math.h>
#include <string.h>

#if OREBIT_X86
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#define INLINE_AVX2 static inline __attribute__((always_inline, target("avx2")))
#endif

#define NOT_FINITE 129

enum contraction_type { TYPE_F32, TYPE_I8, TYPE_U8, TYPE_I16, TYPE_U16, TYPE_I32, TYPE_I64 };

static inline int64_t type_bytes(int64_t type) {
    return type == TYPE_I64 ? 8 : type == TYPE_F32 || type == TYPE_I32 ? 4 : type == TYPE_I8 || type == TYPE_U8 ? 1 : 2;
}

/* 2^(bits - 1 - e) by the map's own wrapping arithmetic, and 0 where the group is not finite. */
static inline float quantise_scale(int64_t e, int64_t bits) {
    const uint32_t word = (uint32_t)(bits - 1 - e + 127) << 23;
    float scale;
    memcpy(&scale, &word, sizeof scale);
    return e == NOT_FINITE ? 0.0f : scale;
}

static inline float quantise_limit(int64_t bits) { return (float)((1 << (bits - 1)) - 1); }

/* Half to even, clamped; NaN gives 0. Clamping first changes nothing: the limits are integers. */
static inline int32_t quantise_one(float x, float scale, float limit) {
    const float v = x * scale;
    if (v != v) return 0;
    const float clamped = v > limit ? limit : v < -limit ? -limit : v;
#if OREBIT_X86
    return _mm_cvtss_si32(_mm_set_ss(clamped));
#else
    return (int32_t)rintf(clamped);
#endif
}

#if OREBIT_X86
/* Eight of quantise_one. */
INLINE_AVX2 __m256i quantise_eight(__m256 x, __m256 scale, __m256 limit) {
    const __m256 v = _mm256_mul_ps(x, scale);
    const __m256 number = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
    const __m256 lowest = _mm256_sub_ps(_mm256_setzero_ps(), limit);
    return _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(number, limit), lowest));
}
#endif

#endif
