"""Options of `serve.deployment` as type checkers see them. Checked by mypy, never run.

An `ignore` that is not needed is an error of its own: so each says what must be refused.
"""

from __future__ import annotations

from typing import Any

from alacarte import serve
from alacarte.config import RayActorOptions
from alacarte.serve import Deployment


@serve.deployment(num_replicas="auto", autoscaling_config={"max_replicas": 3})
class Scaled:
    pass


@serve.deployment(autoscaling_confg={})  # type: ignore[call-overload]
class Misspelt:
    pass


def work() -> None: ...


made: Deployment = serve.deployment(work, max_ongoing_requests=3)
made = made.options(autoscaling_config=None, ray_actor_options=RayActorOptions())

serve.deployment(num_replica=2)  # type: ignore[call-overload]
serve.deployment(work, num_replica=2)  # type: ignore[call-overload]
serve.deployment(num_replicas="many")  # type: ignore[call-overload]
made.options(autoscaling_conf={})  # type: ignore[call-arg]
made.options(placement="tight")  # type: ignore[arg-type]

# Options of other people's plugins are not known here.
others: dict[str, Any] = {"cache": {"ttl_s": 5}}
made = made.options(**others)
made = serve.deployment(**others)(work)
