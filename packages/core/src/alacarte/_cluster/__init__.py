"""Where processes live: the `Cluster` protocol, on Ray and in one process."""
