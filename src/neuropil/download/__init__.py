"""Public data sets and checkpoints by name: fetched, checked against hashes, laid out as the recipes want them."""
