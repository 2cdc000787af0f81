"""Saliency: which places of an aligned crop an answer, age in years or risk, depends on."""
