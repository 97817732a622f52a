"""One shard on several ranks of torch.distributed, by data or by pipeline stage, with the same bits."""

from orebit.executor.ranks.executor import RanksExecutor
from orebit.executor.ranks.launch import LocalRanks

__all__ = ["LocalRanks", "RanksExecutor"]
