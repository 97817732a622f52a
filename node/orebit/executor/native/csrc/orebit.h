/* What every file of the native library shares: the kernel ABI and the tasks of a step. */
#ifndef OREBIT_H
#define OREBIT_H

#include <stdint.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define OREBIT_X86 1
#else
#define OREBIT_X86 0
#endif

/* Compilers that know AMX. */
#if OREBIT_X86 && ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define OREBIT_AMX 1
#else
#define OREBIT_AMX 0
#endif

#define OREBIT_EXPORT __attribute__((visibility("default")))

/* Raised whenever a kernel's words, a packed layout or a function here changes its meaning. */
#define OREBIT_ABI 2

/* `args` are 64-bit words fixed when a step is bound; [begin, end) is a part of the kernel's parallel range.
 * The result does not depend on how the range is split, nor on the order of the parts. */
typedef void orebit_kernel(const int64_t *args, int64_t begin, int64_t end);

struct orebit_task {
    orebit_kernel *kernel;
    const int64_t *args;
    int64_t count; /* the range is [0, count) */
    int64_t grain; /* parts start at multiples of this; a range no longer than this is not split */
};

/* Runs tasks in order, each split over up to `threads` threads; 0, or -1 when an argument is not valid. */
OREBIT_EXPORT int orebit_run(const struct orebit_task *tasks, int64_t n, int threads);

#endif
