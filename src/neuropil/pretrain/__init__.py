"""Pretraining without labels: what is hidden, what is asked for, and who decides.

Arrays are crops (B, C, Z, Y, X) or patches (B, N, ...); the N patches of a crop lie on a grid (z, y, x) in C order.
"""
