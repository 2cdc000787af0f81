"""Reports: tables and figures in one HTML file, and each on its own for those who need them elsewhere."""
