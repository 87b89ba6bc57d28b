"""The application of the production examples: two replicas with a health check.

alacarte run app:app -d examples/production
"""

from __future__ import annotations

from starlette.requests import Request

from alacarte import serve


@serve.deployment(
    num_replicas=2,
    max_ongoing_requests=20,
    graceful_shutdown_timeout_s=20,
    ray_actor_options={"num_cpus": 0.5},
)
class Greeter:
    """Answers `{"greeting": ...}`. Stands for a model."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    def check_health(self) -> None:
        """Raise where the replica is of no use any more, for example when its GPU is lost."""
        if not self.greeting:
            raise RuntimeError("the greeting is missing")

    async def __call__(self, request: Request) -> dict[str, str]:
        return {"greeting": f"{self.greeting}, {request.query_params.get('name', 'you')}!"}


app = Greeter.bind("Hello")
