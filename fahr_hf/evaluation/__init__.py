"""How good age estimates are: predictions of photos as a table, figures of merit with intervals, and the report."""
