"""The path of a call to a replica: replicas, policy, queue and connections."""
