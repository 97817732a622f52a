#ifndef OREBIT_AGREEMENT_H
#define OREBIT_AGREEMENT_H

#include "orebit.h"

/* 1 when a product kernel (product16.h) over digits of 1, 2 or 8 bytes gives the same bits as the portable one. */
OREBIT_EXPORT int orebit_agrees(orebit_kernel *fast, orebit_kernel *plain, int bytes);

#endif
