"""A client's connection: what is let in, and how it ends."""
