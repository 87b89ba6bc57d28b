"""The process of a replica: from the user's class to the sockets."""
