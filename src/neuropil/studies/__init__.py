"""Controlled comparisons that a stranger can repeat: one file says what is compared, one folder holds the results."""
