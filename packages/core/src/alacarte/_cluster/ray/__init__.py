"""The Ray cluster: every actor is a Ray actor. Only this package imports Ray.

Ray places processes, watches them and finds them by name; requests never pass through Ray.
"""

from .ray_cluster import RayCluster

__all__ = ["RayCluster"]
