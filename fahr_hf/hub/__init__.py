"""What is published: model cards made from runs, checks, and the way to the Hub and back."""
