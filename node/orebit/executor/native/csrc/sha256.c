/* SHA-256 over the leaves and nodes of a tensor's Merkle tree (docs/protocol.md), FIPS 180-4. */
#include "orebit.h"

#include <string.h>

#if OREBIT_X86 && !defined(OREBIT_EMULATION)
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#define SHA_INSTRUCTIONS 1
#else
#define SHA_INSTRUCTIONS 0
#endif

enum { BLOCK = 64, DIGEST = 32, LEAF = 1024, LEAF_BLOCKS = 17, NODE_BLOCKS = 2 };

static const uint32_t START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

typedef void compression(uint32_t *state, const uint8_t *blocks, int64_t count);

static uint32_t rotated(uint32_t x, int by) { return x >> by | x << (32 - by); }

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void compress_portable(uint32_t *state, const uint8_t *blocks, int64_t count) {
    for (; count > 0; count--, blocks += BLOCK) {
        uint32_t w[64], v[8];
        for (int i = 0; i < 16; i++) w[i] = big_endian(blocks + 4 * i);
        for (int i = 16; i < 64; i++) {
            const uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + w[i - 7] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) +
                   (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
        }
        memcpy(v, state, sizeof v);
        for (int i = 0; i < 64; i++) {
            const uint32_t a = v[0], e = v[4];
            const uint32_t one = v[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
                                 ((e & v[5]) ^ (~e & v[6])) + ROUND[i] + w[i];
            const uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) +
                                 ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
            memmove(v + 1, v, 7 * sizeof *v);
            v[4] += one;
            v[0] = one + two;
        }
        for (int i = 0; i < 8; i++) state[i] += v[i];
    }
}

#if SHA_INSTRUCTIONS
/* Intel's SHA extensions: state as ABEF and CDGH, four rounds of the schedule at a time. */
__attribute__((target("sha,sse4.1"))) static void compress_sha(uint32_t *state, const uint8_t *blocks, int64_t count) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);
    for (; count > 0; count--, blocks += BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(blocks + 16 * i)), swap);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i now = w[i & 3];
            if (i >= 4) {
                const __m128i middle = _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4);
                now = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) & 3]), middle);
                now = w[i & 3] = _mm_sha256msg2_epu32(now, w[(i + 3) & 3]);
            }
            const __m128i keyed = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(ROUND + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    low = _mm_shuffle_epi32(abef, 0x1b);
    high = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

/* Asked once: a virtual machine takes long to answer. */
static int has_sha(void) {
    static atomic_int known = -1;
    int found = atomic_load_explicit(&known, memory_order_relaxed);
    if (found < 0) {
        unsigned a, b, c, d;
        __builtin_cpu_init();
        found = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) && __builtin_cpu_supports("sse4.1");
        atomic_store_explicit(&known, found, memory_order_relaxed);
    }
    return found;
}
#endif

static compression *fastest(void) {
#if SHA_INSTRUCTIONS
    if (has_sha()) return compress_sha;
#endif
    return compress_portable;
}

/* The digest of `size` bytes that stand at the beginning of `blocks`, whose rest is zero. */
static void finish(compression *compress, uint8_t *blocks, int64_t size, int64_t count, uint8_t *out) {
    uint32_t state[8];
    memcpy(state, START, sizeof state);
    blocks[size] = 0x80;
    for (int i = 0; i < 8; i++) blocks[count * BLOCK - 1 - i] = (uint8_t)((uint64_t)size * 8 >> 8 * i);
    compress(state, blocks, count);
    for (int i = 0; i < DIGEST; i++) out[i] = (uint8_t)(state[i / 4] >> (24 - i % 4 * 8));
}

/* Words: bytes, how many, digests. Range: leaves of 1,024 bytes, the last of which may be shorter. */
OREBIT_EXPORT void orebit_hash_leaves(const int64_t *args, int64_t begin, int64_t end) {
    compression *compress = fastest();
    const uint8_t *bytes = (const uint8_t *)(uintptr_t)args[0];
    uint8_t *out = (uint8_t *)(uintptr_t)args[2];
    uint8_t blocks[LEAF_BLOCKS * BLOCK];
    for (int64_t i = begin; i < end; i++) {
        const int64_t left = args[1] - i * LEAF, size = left < LEAF ? left : LEAF;
        memset(blocks, 0, sizeof blocks);
        memcpy(blocks + 1, bytes + i * LEAF, (size_t)size);
        finish(compress, blocks, size + 1, (size + 1 + 8) / BLOCK + 1, out + i * DIGEST);
    }
}

/* Words: digests of a level, how many, digests of the level above. Range: those; beyond the last child are zeros. */
OREBIT_EXPORT void orebit_hash_nodes(const int64_t *args, int64_t begin, int64_t end) {
    compression *compress = fastest();
    const uint8_t *children = (const uint8_t *)(uintptr_t)args[0];
    uint8_t *out = (uint8_t *)(uintptr_t)args[2];
    for (int64_t i = begin; i < end; i++) {
        uint8_t blocks[NODE_BLOCKS * BLOCK] = {1};
        const int64_t present = args[1] - 2 * i < 2 ? args[1] - 2 * i : 2;
        memcpy(blocks + 1, children + 2 * i * DIGEST, (size_t)(present * DIGEST));
        finish(compress, blocks, 1 + 2 * DIGEST, NODE_BLOCKS, out + i * DIGEST);
    }
}
