"""One label or number for a whole sequence."""
