"""The next values of series, with intervals."""
