"""Clusters that run actors: the `Cluster` protocol, on Ray and in the threads of one process."""
