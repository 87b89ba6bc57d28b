"""The application of the recording: the README's."""

from starlette.requests import Request

from alacarte import serve


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.1})
class Greeter:
    """Greets by name."""

    async def __call__(self, request: Request) -> str:
        """Return a greeting."""
        return f"Hello, {request.query_params['name']}!"


app = Greeter.bind()
