/* The AVX-512 and AMX instructions that the native library uses, in plain C, as Intel's manual has them: so that its
 * kernels can be tested on machines without them. */
#include <stdint.h>
#include <string.h>

#define TARGET

typedef union {
    uint8_t u8[64];
    int8_t i8[64];
    int16_t i16[32];
    uint16_t u16[32];
    int32_t i32[16];
    uint32_t u32[16];
    int64_t i64[8];
    uint64_t u64[8];
    float f32[16];
    double f64[8];
} __m512i, __m512, __m512d;
typedef union {
    int32_t i32[8];
    uint32_t u32[8];
    float f32[8];
} __m256i, __m256;
typedef uint16_t __mmask16;
typedef uint32_t __mmask32;

#define EACH(n) for (int i = 0; i < (n); i++)
#define UNARY(NAME, N, EXPRESSION)                       \
    static inline __m512i NAME(__m512i a) {              \
        __m512i out;                                     \
        EACH(N) EXPRESSION;                              \
        return out;                                      \
    }
#define BINARY(NAME, N, EXPRESSION)                      \
    static inline __m512i NAME(__m512i a, __m512i b) {   \
        __m512i out;                                     \
        EACH(N) EXPRESSION;                              \
        return out;                                      \
    }
#define SHIFT(NAME, N, EXPRESSION)                       \
    static inline __m512i NAME(__m512i a, unsigned n) {  \
        __m512i out;                                     \
        EACH(N) EXPRESSION;                              \
        return out;                                      \
    }

static inline __m512i _mm512_loadu_si512(const void *from) {
    __m512i out;
    memcpy(&out, from, sizeof out);
    return out;
}
static inline void _mm512_storeu_si512(void *to, __m512i a) { memcpy(to, &a, sizeof a); }
#define _mm512_load_si512 _mm512_loadu_si512
#define _mm512_store_si512 _mm512_storeu_si512
#define _mm512_loadu_pd _mm512_loadu_si512
#define _mm512_storeu_pd _mm512_storeu_si512
#define _mm512_storeu_ps _mm512_storeu_si512
#define _mm512_castsi512_ps(a) (a)

static inline __m512i _mm512_set1_epi32(int32_t x) {
    __m512i out;
    EACH(16) out.i32[i] = x;
    return out;
}
static inline __m512i _mm512_set1_epi8(int8_t x) {
    __m512i out;
    EACH(64) out.i8[i] = x;
    return out;
}
#define _mm512_setzero_si512() _mm512_set1_epi32(0)
#define _mm512_setzero_pd() _mm512_set1_epi32(0)
#define _mm512_setr_epi32(...) _mm512_loadu_si512((const int32_t[16]){__VA_ARGS__})
static inline __m512i _mm512_set4_epi32(int32_t d, int32_t c, int32_t b, int32_t a) {
    __m512i out;
    EACH(16) out.i32[i] = i % 4 == 0 ? a : i % 4 == 1 ? b : i % 4 == 2 ? c : d;
    return out;
}

BINARY(_mm512_add_epi32, 16, out.u32[i] = a.u32[i] + b.u32[i])
BINARY(_mm512_sub_epi32, 16, out.u32[i] = a.u32[i] - b.u32[i])
BINARY(_mm512_add_epi64, 8, out.u64[i] = a.u64[i] + b.u64[i])
BINARY(_mm512_xor_si512, 16, out.u32[i] = a.u32[i] ^ b.u32[i])
BINARY(_mm512_mul_ps, 16, out.f32[i] = a.f32[i] * b.f32[i])
BINARY(_mm512_unpacklo_epi64, 8, out.u64[i] = i % 2 ? b.u64[i - 1] : a.u64[i])
BINARY(_mm512_unpackhi_epi64, 8, out.u64[i] = i % 2 ? b.u64[i] : a.u64[i + 1])
BINARY(_mm512_permutexvar_epi32, 16, out.u32[i] = b.u32[a.u32[i] & 15])
BINARY(_mm512_shuffle_epi8, 64, out.u8[i] = b.u8[i] & 0x80 ? 0 : a.u8[i / 16 * 16 + (b.u8[i] & 15)])
SHIFT(_mm512_srai_epi32, 16, out.i32[i] = a.i32[i] >> n)
SHIFT(_mm512_srli_epi32, 16, out.u32[i] = a.u32[i] >> n)
SHIFT(_mm512_slli_epi32, 16, out.u32[i] = a.u32[i] << n)
SHIFT(_mm512_slli_epi64, 8, out.u64[i] = a.u64[i] << n)
UNARY(_mm512_cvtepi32_ps, 16, out.f32[i] = (float)a.i32[i])

static inline __m256i _mm512_extracti32x8_epi32(__m512i a, int half) {
    __m256i out;
    EACH(8) out.i32[i] = a.i32[8 * half + i];
    return out;
}
#define _mm512_castsi512_si256(a) _mm512_extracti32x8_epi32(a, 0)
static inline __m512i _mm512_cvtepi32_epi64(__m256i a) {
    __m512i out;
    EACH(8) out.i64[i] = a.i32[i];
    return out;
}
static inline __m512i _mm512_cvtepu32_epi64(__m256i a) {
    __m512i out;
    EACH(8) out.u64[i] = a.u32[i];
    return out;
}
static inline __m256 _mm512_cvtepi64_ps(__m512i a) {
    __m256 out;
    EACH(8) out.f32[i] = (float)a.i64[i];
    return out;
}
static inline __m512 _mm512_castps256_ps512(__m256 a) {
    __m512 out = {0};
    EACH(8) out.f32[i] = a.f32[i];
    return out;
}
static inline __m512 _mm512_insertf32x8(__m512 a, __m256 b, int half) {
    EACH(8) a.f32[8 * half + i] = b.f32[i];
    return a;
}
static inline __mmask16 _mm512_test_epi32_mask(__m512i a, __m512i b) {
    __mmask16 out = 0;
    EACH(16) out |= (__mmask16)((a.u32[i] & b.u32[i]) != 0) << i;
    return out;
}
static inline __m512 _mm512_mask_blend_ps(__mmask16 k, __m512 a, __m512 b) {
    EACH(16) a.f32[i] = k >> i & 1 ? b.f32[i] : a.f32[i];
    return a;
}
static inline __m512i _mm512_mask_blend_epi16(__mmask32 k, __m512i a, __m512i b) {
    EACH(32) a.u16[i] = k >> i & 1 ? b.u16[i] : a.u16[i];
    return a;
}

/* VNNI: neither saturates in the forms that the library uses. */
static inline __m512i _mm512_dpbusd_epi32(__m512i t, __m512i a, __m512i b) {
    EACH(64) t.u32[i / 4] += (uint32_t)((int32_t)a.u8[i] * b.i8[i]);
    return t;
}
static inline __m512i emulated_dpwssd(__m512i t, __m512i a, __m512i b) {
    EACH(32) t.u32[i / 2] += (uint32_t)((int32_t)a.i16[i] * b.i16[i]);
    return t;
}
#define MULTIPLY_ADD(t, pair, right) ((t) = emulated_dpwssd(t, right, _mm512_set1_epi32(pair)))
#define MULTIPLY_ADD_BYTES(t, four, right) ((t) = _mm512_dpbusd_epi32(t, right, _mm512_set1_epi32(four)))
#define MULTIPLY_ADD_DOUBLES(t, left, right) \
    for (int lane = 0; lane < 8; lane++) (t).f64[lane] += (left) * (right).f64[lane]

/* AMX: eight tiles of 16 rows of 64 bytes, whatever the configuration says. */
static _Thread_local union {
    uint8_t u8[16][64];
    int8_t i8[16][64];
    uint32_t u32[16][16];
} emulated_tiles[8];

#define _tile_loadconfig(shapes) ((void)(shapes))
#define _tile_release() ((void)0)
static inline void _tile_zero(int tile) { memset(&emulated_tiles[tile], 0, sizeof emulated_tiles[tile]); }
static inline void _tile_loadd(int tile, const void *from, int64_t stride) {
    EACH(16) memcpy(emulated_tiles[tile].u8[i], (const char *)from + i * stride, 64);
}
static inline void _tile_stored(int tile, void *to, int64_t stride) {
    EACH(16) memcpy((char *)to + i * stride, emulated_tiles[tile].u8[i], 64);
}
#define TILE_PRODUCT(NAME, LEFT, RIGHT)                                                                        \
    static inline void NAME(int t, int a, int b) {                                                             \
        for (int m = 0; m < 16; m++)                                                                           \
            for (int n = 0; n < 16; n++)                                                                       \
                EACH(64) emulated_tiles[t].u32[m][n] += (uint32_t)((int32_t)emulated_tiles[a].LEFT[m][i] *     \
                                                                   emulated_tiles[b].RIGHT[i / 4][4 * n + i % 4]); \
    }
TILE_PRODUCT(_tile_dpbssd, i8, i8)
TILE_PRODUCT(_tile_dpbsud, i8, u8)
TILE_PRODUCT(_tile_dpbusd, u8, i8)
TILE_PRODUCT(_tile_dpbuud, u8, u8)
