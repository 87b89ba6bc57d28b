"""Where user code runs: the replica's process, from the user's class to its sockets."""
