"""Routing policy that avoids slow and failing replicas."""
