/* What the processor, the operating system and a trial of each kernel allow. */
#define _GNU_SOURCE
#include "agreement.h"
#include "orebit.h"

#if OREBIT_AMX && defined(__linux__) && !defined(OREBIT_EMULATION)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#define ASK_FOR_TILES 1
#else
#define ASK_FOR_TILES 0
#endif

enum { HAS_AVX2 = 1, HAS_AVX512_VNNI = 2, HAS_AMX = 4 };

orebit_kernel orebit_product16_portable, orebit_product8_portable, orebit_product64_portable;
orebit_kernel orebit_product16_avx2, orebit_product64_avx2;
orebit_kernel orebit_product16_avx512vnni, orebit_product8_avx512vnni, orebit_product64_avx512vnni;
orebit_kernel orebit_product16_amx;

#if !defined(OREBIT_EMULATION) && OREBIT_X86
/* Whether there are int8 tiles, and Linux lets this process use them: their state is large, so it wants to be asked. */
static int has_amx(void) {
#if ASK_FOR_TILES
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILES = 1 << 24, INT8_TILES = 1 << 25 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & TILES) || !(d & INT8_TILES)) return 0;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 0;
#endif
}
#endif

static int features(void) {
    int found = 0;
#ifdef OREBIT_EMULATION
    found = HAS_AVX512_VNNI | HAS_AMX;
#elif OREBIT_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found |= HAS_AVX2;
    if ((found & HAS_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        found |= HAS_AVX512_VNNI;
    if ((found & HAS_AVX512_VNNI) && has_amx()) found |= HAS_AMX;
#endif
    return found;
}

/* The instruction sets of this machine whose products agree with the portable ones. Takes some milliseconds. */
OREBIT_EXPORT int orebit_instructions(void) {
    int found = features();
#if OREBIT_X86
    if ((found & HAS_AVX2) && !(orebit_agrees(orebit_product16_avx2, orebit_product16_portable, 2) &&
                                orebit_agrees(orebit_product64_avx2, orebit_product64_portable, 8)))
        found &= ~HAS_AVX2;
    if ((found & HAS_AVX512_VNNI) && !(orebit_agrees(orebit_product16_avx512vnni, orebit_product16_portable, 2) &&
                                       orebit_agrees(orebit_product8_avx512vnni, orebit_product8_portable, 1) &&
                                       orebit_agrees(orebit_product64_avx512vnni, orebit_product64_portable, 8)))
        found &= ~(HAS_AVX512_VNNI | HAS_AMX);
#endif
#if OREBIT_AMX
    if ((found & HAS_AMX) && !orebit_agrees(orebit_product16_amx, orebit_product16_portable, 2)) found &= ~HAS_AMX;
#endif
    return found;
}
