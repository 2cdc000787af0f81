"""Errors by labels of groups, at equal ages."""
