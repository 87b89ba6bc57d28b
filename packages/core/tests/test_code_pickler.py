"""Code by value keeps its file and lines, and brings their text to where the file is not."""

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
    """What one test makes known to tracebacks is unknown to the next."""
    before = dict(linecache.cache)
    yield
    linecache.cache.clear()
    linecache.cache.update(before)
    _code_pickler._received_files.clear()


def run_cell(name, source=CELL):
    """Run a cell as IPython does: its text is in `linecache` and in no file."""
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    namespace = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), namespace)  # noqa: S102
    return namespace


def elsewhere(data, name):
    """Load `data` as a process does that has never seen the cell `name`."""
    linecache.cache.pop(name, None)
    return pickle.loads(data)


def shown(call):
    """Return the traceback that a call ends in."""
    try:
        call()
    except Exception:
        return traceback.format_exc()
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("name", ["/tmp/ipykernel_7/1234.py", "<ipython-input-3-abc>"])
@pytest.mark.parametrize("pickled", [lambda value: dump(value, str), dumps])
def test_a_cells_line_shows_where_the_cell_is_not(name, pickled):
    """A traceback names the cell and shows its line, of functions inside of others, too."""
    cell = run_cell(name)
    fails, model = elsewhere(pickled([cell["fails"], cell["Model"]]), name)
    told = shown(lambda: fails(1))
    assert f'File "{name}", line 7, in fails\n    return inner()' in told
    assert f'File "{name}", line 6, in inner\n    + nothing' in told
    assert f'File "{name}", line 11, in __init__\n    raise OSError("no weights")' in shown(model)


def test_values_and_errors_bring_their_lines():
    """Functions sent as arguments, and the methods of users' exceptions, are told of as well."""
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
    """Of `__main__`, the file's name, line and text arrive though the file does not."""
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
    """Where tracebacks read the file itself, nothing is put in its place."""
    data = dumps(lambda: 1 / 0)
    pickle.loads(data)
    assert _code_pickler._received_files == {}
    assert linecache.cache[__file__][1] is not None  # with its time of change: from the disk


def test_a_file_that_reads_otherwise_shows_what_runs(tmp_path):
    """Code that is older than the file of that name shows its own lines, and other lines stay."""
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
    """Functions inside of a function bring nothing that it brings already."""
    cell = run_cell("<cell>")
    assert dumps(cell["fails"]).count(b"+ nothing") == 1


def test_only_the_codes_own_lines_travel():
    """The rest of the file stays at home."""
    cell = run_cell("<cell>")
    assert b"LIMIT" not in dumps(cell["fails"])


def test_code_without_source_travels(monkeypatch):
    """What `exec` and the likes make has no text, and needs none."""
    namespace = {}
    exec("def add(a, b): return a + b", namespace)  # noqa: S102
    assert pickle.loads(dumps(namespace["add"]))(1, 2) == 3


def test_what_is_remembered_is_bounded(monkeypatch):
    """A process that is sent ever new cells forgets the oldest."""
    monkeypatch.setattr(_code_pickler, "_MAX_FILES", 3)
    for number in range(9):
        name = f"<cell {number}>"
        elsewhere(dumps(run_cell(name)["fails"]), name)
    assert list(_code_pickler._received_files) == ["<cell 6>", "<cell 7>", "<cell 8>"]
    assert not linecache.getlines("<cell 5>")
    assert linecache.getlines("<cell 8>")


def test_code_is_what_it_was():
    """Nothing of a code object but its identity is lost, whatever cloudpickle does with it."""

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
    """What cloudpickle itself made still loads beside ours."""
    assert pickle.loads(cloudpickle.dumps(lambda: 3))() == 3
