"""Tracing: grey values, probabilities or labels to neuron trees; arrays in, `Skeleton`s out."""
