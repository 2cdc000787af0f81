"""What travels to the Hub inside a checkpoint: flat siblings that import nothing else of this package."""
