"""Measuring: rivals that compute the same numbers take turns in one process, beside the processor's peak."""
