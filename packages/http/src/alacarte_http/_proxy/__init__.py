"""The HTTP proxy process: requests to replicas, and responses back to clients."""
