"""Deployments and applications as users declare them, and the flat specs of both."""
