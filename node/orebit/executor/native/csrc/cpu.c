/* What the processor and the operating system allow. */
#define _GNU_SOURCE
#include "orebit.h"

#if OREBIT_AMX && defined(__linux__) && !defined(OREBIT_EMULATION)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { HAS_AVX2 = 1, HAS_AVX512_VNNI = 2, HAS_AMX = 4 };

#ifndef OREBIT_EMULATION
/* Whether there are int8 tiles, and Linux lets this process use them: their state is large, so it wants to be asked. */
static int has_amx(void) {
#if OREBIT_AMX && defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILES = 1 << 24, INT8_TILES = 1 << 25 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & TILES) || !(d & INT8_TILES)) return 0;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 0;
#endif
}
#endif

OREBIT_EXPORT int orebit_cpu_features(void) {
    int features = 0;
#ifdef OREBIT_EMULATION
    features = HAS_AVX512_VNNI | HAS_AMX;
#elif OREBIT_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) features |= HAS_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        features |= HAS_AVX512_VNNI;
    if ((features & HAS_AVX512_VNNI) && has_amx()) features |= HAS_AMX;
#endif
    return features;
}
