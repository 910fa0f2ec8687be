"""Training data: where crops come from, how they are changed, and how they become batches.

`sampling` chooses and reads, `augment` draws and applies, `targets` makes affinities, `batches` makes tensors.
"""
