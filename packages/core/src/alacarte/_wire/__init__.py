"""Bytes between processes: frames, connections, values, errors and authentication."""
