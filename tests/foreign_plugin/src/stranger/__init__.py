"""Example of a foreign plugin, for tests."""
