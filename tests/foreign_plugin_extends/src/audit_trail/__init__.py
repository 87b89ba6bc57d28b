"""Audit trail of the calls that replicas run."""
