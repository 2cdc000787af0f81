"""Survival statistics that agree with R's, and the report made from them."""
