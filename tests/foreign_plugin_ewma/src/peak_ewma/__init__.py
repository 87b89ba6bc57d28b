"""A routing policy that avoids replicas that are slow or fail."""
