"""The fused CPU executor: whole steps as generated and native kernels over planned memory."""

from orebit.executor.fused.executor import FusedExecutor

__all__ = ["FusedExecutor"]
