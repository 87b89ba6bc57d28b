"""Measure `from … import serve` in a fresh interpreter: seconds, and modules imported along.

As an import may put off its work, the first `@serve.deployment` is timed too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

PACKAGE = os.environ["BENCH_SERVE"].rpartition(".")[0]
WATCHED = ("ray", "starlette", "uvicorn", "fastapi")


def main() -> None:
    names: dict[str, Any] = {}
    began = time.perf_counter()
    # The statement a user writes, compiled here because the package's name varies.
    exec(compile(f"from {PACKAGE} import serve", "<import>", "exec"), names)
    imported = time.perf_counter()
    foreign = [name for name in WATCHED if name in sys.modules]

    @names["serve"].deployment
    class Hello:
        async def __call__(self, request):
            return "hello"

    used = time.perf_counter()
    found = {
        "import_ms": (imported - began) * 1000,
        "import_used_ms": (used - began) * 1000,
        "foreign": foreign,
    }
    print(json.dumps({"bench": found}))


if __name__ == "__main__":
    main()
