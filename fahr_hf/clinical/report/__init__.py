"""The analysis of the paper as one report: from a table of people to the tables and figures of a manuscript."""
