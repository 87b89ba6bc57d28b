"""The Ray cluster: every actor is a Ray actor. The only room that imports Ray.

Ray places processes, watches them and finds them by name; requests never pass through it.
"""

from .ray_cluster import RayCluster

__all__ = ["RayCluster"]
