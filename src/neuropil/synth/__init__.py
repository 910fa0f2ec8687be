"""Seeded phantoms with exact truth: `em` makes neuropil as electron microscopes see it."""
