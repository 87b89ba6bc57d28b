"""How long `from … import serve` takes in a fresh interpreter, and what comes along with it."""

from __future__ import annotations

import json
import os
import sys
import time

PACKAGE = os.environ["BENCH_SERVE"].rpartition(".")[0]
WATCHED = ("ray", "starlette", "uvicorn", "fastapi")


def main() -> None:
    began = time.perf_counter()
    # The statement a user writes, compiled here because the package's name varies.
    exec(compile(f"from {PACKAGE} import serve", "<import>", "exec"), {})
    elapsed = time.perf_counter() - began
    imported = [name for name in WATCHED if name in sys.modules]
    print(json.dumps({"bench": {"import_ms": elapsed * 1000, "imported": imported}}))


if __name__ == "__main__":
    main()
