"""Native code of the fused CPU executor: the task runner and exact integer products (README.md here has the ABI)."""
