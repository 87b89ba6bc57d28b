"""How a call finds a replica: the set of replicas, the policy, the queue and the connections."""
