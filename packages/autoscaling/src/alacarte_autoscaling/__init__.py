"""Autoscaling: the number of replicas follows the load, by policies that you can replay."""

from __future__ import annotations

from ._recorder import Recorder
from .policies import default_autoscaling_policy

__all__ = ["Recorder", "default_autoscaling_policy"]
