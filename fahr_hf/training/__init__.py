"""Training: one Accelerate loop, and the recipes that run on it."""
