"""A node before the court: it defends what it computed, audits what others did, and settles what comes of it."""
