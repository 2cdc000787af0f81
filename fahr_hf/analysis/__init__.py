"""How a model behaves: what moves its answers that should not, where it looks, and whom it serves less well."""
