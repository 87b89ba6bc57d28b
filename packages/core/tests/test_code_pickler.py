"""Pickled code keeps its file and lines, and brings its source to processes without the file."""

import linecache
import pickle
import subprocess
import sys
import traceback

import cloudpickle
import pytest

from alacarte import _code_pickler
from alacarte._code_pickler import dumps
from alacarte._model.pickling import dump
from alacarte._wire import codec, error_codec

CELL = """\
LIMIT = 3

def fails(x):
    def inner():
        return (x
                + nothing)
    return inner()

class Model:
    def __init__(self):
        raise OSError("no weights")
"""


@pytest.fixture(autouse=True)
def forgetful():
    """Clear the sources that a test has added to `linecache`."""
    before = dict(linecache.cache)
    yield
    linecache.cache.clear()
    linecache.cache.update(before)
    _code_pickler._received_files.clear()


def run_cell(name, source=CELL):
    """Run a cell as IPython does: its source is in `linecache` only."""
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    namespace = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), namespace)  # noqa: S102
    return namespace


def elsewhere(data, name):
    """Load `data` as in a process that does not know the cell `name`."""
    linecache.cache.pop(name, None)
    return pickle.loads(data)


def shown(call):
    """Return the traceback of a failing call."""
    try:
        call()
    except Exception:
        return traceback.format_exc()
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("name", ["/tmp/ipykernel_7/1234.py", "<ipython-input-3-abc>"])
@pytest.mark.parametrize("pickled", [lambda value: dump(value, str), dumps])
def test_a_cells_line_shows_where_the_cell_is_not(name, pickled):
    """A traceback names the cell and shows its line, for nested functions too."""
    cell = run_cell(name)
    fails, model = elsewhere(pickled([cell["fails"], cell["Model"]]), name)
    told = shown(lambda: fails(1))
    assert f'File "{name}", line 7, in fails\n    return inner()' in told
    assert f'File "{name}", line 6, in inner\n    + nothing' in told
    assert f'File "{name}", line 11, in __init__\n    raise OSError("no weights")' in shown(model)


def test_values_and_errors_bring_their_lines():
    """Functions in arguments and methods of users' exceptions keep their lines."""
    source = "class Mine(Exception):\n    def explain(self):\n        return 1 / 0\n"
    cell = run_cell("<cell>", source + "send = lambda: Mine().explain()\n")
    [message] = codec.encode(cell["send"])
    linecache.cache.pop("<cell>")
    assert "return 1 / 0" in shown(codec.decode(message))
    message = error_codec.encode_error(cell["Mine"]())
    linecache.cache.pop("<cell>", None)
    error = error_codec.unpickle_error(message)
    assert "line 3, in explain\n    return 1 / 0" in shown(error.explain)


def test_a_script_is_told_from_where_it_is_not(tmp_path):
    """Code of `__main__` keeps its file name, line and source without the file."""
    script = tmp_path / "script.py"
    script.write_text(
        CELL + "import sys\n"
        "from alacarte._model.pickling import dump\n"
        "sys.stdout.buffer.write(dump(Model, str))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, check=True)
    script.unlink()
    told = shown(pickle.loads(done.stdout))
    assert f'File "{script}", line 11, in __init__\n    raise OSError("no weights")' in told


def test_a_file_that_reads_the_same_is_left_alone():
    """An existing equal file is not replaced in `linecache`."""
    data = dumps(lambda: 1 / 0)
    pickle.loads(data)
    assert _code_pickler._received_files == {}
    assert linecache.cache[__file__][1] is not None  # with its time of change: from the disk


def test_a_file_that_reads_otherwise_shows_what_runs(tmp_path):
    """Code that differs from the local file shows its own lines; other lines stay."""
    path = tmp_path / "model.py"
    path.write_text(CELL)
    namespace = {}
    exec(compile(CELL, str(path), "exec"), namespace)  # noqa: S102
    data = dumps(namespace["fails"])
    path.write_text("# changed\n" * 9 + "last = 1\n")
    linecache.checkcache(str(path))
    fails = pickle.loads(data)
    assert "return inner()" in shown(lambda: fails(1))
    assert linecache.getline(str(path), 10) == "last = 1\n"


def test_source_travels_once():
    """Nested functions do not repeat the source of the enclosing function."""
    cell = run_cell("<cell>")
    assert dumps(cell["fails"]).count(b"+ nothing") == 1


def test_only_the_codes_own_lines_travel():
    """Only the lines of the function are sent."""
    cell = run_cell("<cell>")
    assert b"LIMIT" not in dumps(cell["fails"])


def test_code_without_source_travels(monkeypatch):
    """Code of `exec` without source still pickles."""
    namespace = {}
    exec("def add(a, b): return a + b", namespace)  # noqa: S102
    assert pickle.loads(dumps(namespace["add"]))(1, 2) == 3


def test_what_is_remembered_is_bounded(monkeypatch):
    """A process that receives many cells keeps the sources of the latest."""
    monkeypatch.setattr(_code_pickler, "_MAX_FILES", 3)
    for number in range(9):
        name = f"<cell {number}>"
        elsewhere(dumps(run_cell(name)["fails"]), name)
    assert list(_code_pickler._received_files) == ["<cell 6>", "<cell 7>", "<cell 8>"]
    assert not linecache.getlines("<cell 5>")
    assert linecache.getlines("<cell 8>")


def test_code_is_what_it_was():
    """All attributes of a code object survive pickling."""

    def outer(a, /, b=2, *rest, key=1, **more):
        async def inner():
            yield a, b, key
            try:
                raise ValueError
            finally:
                del more["x"]

        return inner

    code = outer.__code__
    assert pickle.loads(dumps(code)) == code
    assert pickle.loads(dumps(code)).co_filename == code.co_filename == __file__
    assert list(pickle.loads(dumps(code)).co_positions()) == list(code.co_positions())


def test_plain_cloudpickle_loads_in_between():
    """Pickles of plain cloudpickle still load."""
    assert pickle.loads(cloudpickle.dumps(lambda: 3))() == 3
