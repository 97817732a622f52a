"""One shard on several ranks of torch.distributed, by data or by pipeline stage, with the same bits."""

from orebit.executor.ranks.executor import RanksExecutor, Split

__all__ = ["RanksExecutor", "Split"]
