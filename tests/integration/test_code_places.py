"""Errors of code that travels by value name the user's file and show the line; on Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.minimums, pytest.mark.timeout(180)]

# As IPython runs a cell: the text is in `linecache`, and no file has it.
NOTEBOOK = '''
import linecache
from alacarte import serve
from alacarte.errors import DeployError

CELL = """
@serve.deployment
class Model:
    def __init__(self, loads):
        if not loads:
            raise OSError("no weights")

    def __call__(self):
        return 1 / 0
"""
name = "/tmp/ipykernel_7/1234.py"
linecache.cache[name] = (len(CELL), None, CELL.splitlines(True), name)
exec(compile(CELL, name, "exec"))

class Script:
    def __init__(self):
        raise OSError("no tokens")

serve.start(proxy_location="Disabled")
try:
    for app in (Model.bind(False), serve.deployment(Script).bind()):
        try:
            serve.run(app, route_prefix=None)
        except DeployError as error:
            print(error)
    handle = serve.run(Model.bind(True), route_prefix=None)
    try:
        handle.remote().result(timeout_s=60)
    except ZeroDivisionError as error:
        print(error.__cause__)
finally:
    serve.shutdown()
'''


def test_the_users_line_shows(ray_address: str, tmp_path: Path):
    """Constructors and calls of classes of a notebook and of `__main__`, whatever cloudpickle."""
    program = tmp_path / "program.py"
    program.write_text(NOTEBOOK)
    command = [sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=150)
    assert done.returncode == 0, done.stderr
    cell = 'File "/tmp/ipykernel_7/1234.py", line'
    assert f'{cell} 6, in __init__\n    raise OSError("no weights")' in done.stdout
    assert f"{cell} 9, in __call__\n    return 1 / 0" in done.stdout
    line = NOTEBOOK.splitlines().index('        raise OSError("no tokens")') + 1
    assert f'"{program}", line {line}, in __init__\n    raise OSError("no tokens")' in done.stdout
