"""Uploads, of which the length is answered, and downloads of as many bytes as the path says."""

from __future__ import annotations

from program import serve, serve_until_told


@serve.deployment(max_ongoing_requests=100)
class Bodies:
    def __init__(self):
        self.made = {}

    async def __call__(self, request):
        from starlette.responses import Response

        if request.method == "POST":
            return str(len(await request.body()))
        size = int(request.scope["path"][1:])
        if size not in self.made:
            self.made[size] = b"x" * size
        return Response(self.made[size], media_type="application/octet-stream")


if __name__ == "__main__":
    serve_until_told(Bodies.bind())
