"""Many photos: which there are, what becomes of each, and the tables that are made of the answers."""
