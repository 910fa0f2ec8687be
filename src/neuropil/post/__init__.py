"""From affinities to labels: fragments, their graph, agglomeration, mutex watershed, and the same in blocks."""
