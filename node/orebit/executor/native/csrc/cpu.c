/* What the processor and the operating system allow. */
#include "orebit.h"

enum { HAS_AVX2 = 1, HAS_AVX512_VNNI = 2 };

OREBIT_EXPORT int orebit_cpu_features(void) {
    int features = 0;
#if OREBIT_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) features |= HAS_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        features |= HAS_AVX512_VNNI;
#endif
    return features;
}
