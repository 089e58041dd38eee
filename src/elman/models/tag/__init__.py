"""One label for every element."""
