"""From an image and a network to affinities: tiles on a fixed grid, blending, test-time averaging, blockwise runs."""
