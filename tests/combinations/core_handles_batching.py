"""Core, handles and batching: calls from several callers come as one list."""

from checks import done, installed, running, without_ray

from alacarte import serve

installed("batching", "handles")
serve.start(cluster="local")


@serve.deployment
class Model:
    @serve.batch(max_batch_size=4, batch_wait_timeout_s=5.0)
    async def __call__(self, numbers: list[int]) -> list[tuple[int, int]]:
        return [(number, len(numbers)) for number in numbers]


handle = serve.run(Model.bind())
running()
responses = [handle.remote(number) for number in range(4)]
answers = [response.result(timeout_s=10) for response in responses]
assert answers == [(number, 4) for number in range(4)], answers
serve.shutdown()
without_ray()
done()
