/* The int16 tile for AVX2, in assembly: compilers spill the accumulators, which costs half of the speed.
 *
 * ymm0-7 hold t, ymm8-9 a pair of B, ymm10 and ymm13 a pair of one row of A, the rest products. */
#include "product16_tiles.h"

#if OREBIT_X86

#define LOAD_B(pair) "vmovdqu " #pair "*64(%[b]), %%ymm8\n vmovdqu " #pair "*64+32(%[b]), %%ymm9\n"

#define FIRST(pair, row, x, left, right)                          \
    "vpbroadcastd " #pair "*16+4*" #row "(%[a]), %%ymm" #x "\n"   \
    "vpmaddwd %%ymm" #x ", %%ymm8, %%ymm" #left "\n"              \
    "vpmaddwd %%ymm" #x ", %%ymm9, %%ymm" #right "\n"

#define NEXT(pair, row, x, y, z, left, right)                     \
    "vpbroadcastd " #pair "*16+4*" #row "(%[a]), %%ymm" #x "\n"   \
    "vpmaddwd %%ymm" #x ", %%ymm8, %%ymm" #y "\n"                 \
    "vpmaddwd %%ymm" #x ", %%ymm9, %%ymm" #z "\n"                 \
    "vpaddd %%ymm" #y ", %%ymm" #left ", %%ymm" #left "\n"        \
    "vpaddd %%ymm" #z ", %%ymm" #right ", %%ymm" #right "\n"

#define FIRST_PAIR(p) LOAD_B(p) FIRST(p, 0, 10, 0, 1) FIRST(p, 1, 13, 2, 3) FIRST(p, 2, 10, 4, 5) FIRST(p, 3, 13, 6, 7)

#define NEXT_PAIR(p)                                                                  \
    LOAD_B(p) NEXT(p, 0, 10, 11, 12, 0, 1) NEXT(p, 1, 13, 14, 15, 2, 3)               \
    NEXT(p, 2, 10, 11, 12, 4, 5) NEXT(p, 3, 13, 14, 15, 6, 7)

#define ADVANCE "add $4*16, %[a]\n add $4*64, %[b]\n"

/* The sums of one chunk, into ymm0-7. */
#define CHUNK                                                                         \
    FIRST_PAIR(0) NEXT_PAIR(1) NEXT_PAIR(2) NEXT_PAIR(3) ADVANCE                      \
    "mov %[units], %[left]\n"                                                         \
    "sub $1, %[left]\n"                                                               \
    "jz 3f\n"                                                                         \
    ".p2align 5\n"                                                                    \
    "2:\n"                                                                            \
    NEXT_PAIR(0) NEXT_PAIR(1) NEXT_PAIR(2) NEXT_PAIR(3) ADVANCE                       \
    "sub $1, %[left]\n"                                                               \
    "jnz 2b\n"                                                                        \
    "3:\n"

#define SPILL(i, x)                                                                   \
    "vpsrad $16, %%ymm" #i ", %%ymm" #x "\n"                                          \
    "vpaddd 32*" #i "(%[lo]), %%ymm" #i ", %%ymm" #i "\n"                             \
    "vpaddd 32*" #i "(%[hi]), %%ymm" #x ", %%ymm" #x "\n"                             \
    "vmovdqa %%ymm" #i ", 32*" #i "(%[lo])\n"                                         \
    "vmovdqa %%ymm" #x ", 32*" #i "(%[hi])\n"

#define STORE(i) "vmovdqa %%ymm" #i ", 32*" #i "(%[lo])\n"

#define CLOBBERED                                                                                                    \
    "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
        "xmm12", "xmm13", "xmm14", "xmm15"

void orebit_tile16_avx2(const int16_t *a, const int16_t *b, int64_t chunks, int64_t pairs, int32_t *lo, int32_t *hi) {
    const int64_t units = pairs / CHUNK_UNIT;
    int64_t left;
    if (hi == 0) {
        __asm__ volatile(CHUNK STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5) STORE(6) STORE(7) "vzeroupper\n"
                         : [a] "+r"(a), [b] "+r"(b), [left] "=&r"(left)
                         : [units] "r"(units), [lo] "r"(lo)
                         : CLOBBERED);
        return;
    }
    __asm__ volatile("1:\n" CHUNK SPILL(0, 10) SPILL(1, 11) SPILL(2, 12) SPILL(3, 13) SPILL(4, 10) SPILL(5, 11)
                         SPILL(6, 12) SPILL(7, 13) "sub $1, %[chunks]\n"
                                                   "jnz 1b\n"
                                                   "vzeroupper\n"
                     : [a] "+r"(a), [b] "+r"(b), [left] "=&r"(left), [chunks] "+r"(chunks)
                     : [units] "r"(units), [lo] "r"(lo), [hi] "r"(hi)
                     : CLOBBERED);
}

#endif
