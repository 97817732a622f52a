"""The CUDA executor: kernels generated from the program, compiled by NVRTC, with the reference executor's bits."""

from orebit.executor.cuda.executor import CudaExecutor
from orebit.executor.cuda.gpu import require

__all__ = ["CudaExecutor", "require"]
