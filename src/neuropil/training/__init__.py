"""Training: one loop for every network, and the Run directory that it leaves behind."""
