"""The fused CPU executor: whole steps as generated and native kernels over planned memory."""
