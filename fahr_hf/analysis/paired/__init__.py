"""Two photos of a person, before and after a change: agreement, equivalence, and what is behind a mean of zero."""
