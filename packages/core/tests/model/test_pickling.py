"""Pickling of code: importable code by reference, other code by value."""

import importlib
import pickle
import subprocess
import sys

import cloudpickle
import pytest

from alacarte._model.deployment import deployment
from alacarte._model.graph import build_application, load_code, load_init
from alacarte._model.pickling import dump

MODULE = """
import threading
from alacarte._model.deployment import deployment

lock = threading.Lock()  # would not pickle

@deployment
class Model:
    def get(self):
        with lock:
            return Model

    class Inner:
        pass

@deployment(name="other-name")
def function(x):
    with lock:
        return x

class Outer:
    @deployment
    class Nested:
        def get(self):
            return lock

renamed = deployment(type("Hidden", (), {"__module__": __name__, "lock": 1}))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's, importable from `sys.path`."""
    (tmp_path / "travelling.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("travelling")
    sys.modules.pop("travelling", None)


def code_of(app):
    return build_application(app, name="app", route_prefix=None).deployments[-1].code


def no_handles(deployment):
    raise AssertionError(f"{deployment} is not bound here")


@pytest.mark.parametrize("name", ["Model", "function"])
def test_decorated_code_of_a_module_goes_by_reference(module, name):
    """A decorated class or function of a module arrives as that module's, not as a copy."""
    made = getattr(module, name)
    code = code_of(made.bind())
    assert len(code) < 200
    assert load_code(code, no_handles) is made.func_or_class


def test_options_do_not_change_how_code_travels(module):
    """A deployment made by `options` refers to the same importable class."""
    code = code_of(module.Model.options(name="renamed").bind())
    assert load_code(code, no_handles) is module.Model.func_or_class


def test_nested_decorated_class_goes_by_reference(module):
    """A deployment inside of another class is found by its qualified name."""
    assert load_code(code_of(module.Outer.Nested.bind()), no_handles) is (
        module.Outer.Nested.func_or_class
    )


def test_code_not_under_its_name_goes_by_value(module):
    """Code that its module does not have under its name is pickled by value."""
    code = load_code(code_of(module.renamed.bind()), no_handles)
    assert code.__name__ == "Hidden"
    assert code.lock == 1


def test_module_that_cannot_be_found_again_goes_by_value(module, tmp_path, monkeypatch):
    """Code of a module that is no longer on `sys.path` is pickled by value."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    module.lock = None
    importlib.invalidate_caches()
    code = code_of(module.function.bind())
    del sys.modules["travelling"]
    assert load_code(code, no_handles)


def test_modules_registered_by_value_go_by_value(module):
    """`cloudpickle.register_pickle_by_value` is respected."""
    cloudpickle.register_pickle_by_value(module)
    try:
        with pytest.raises(Exception, match="lock"):
            code_of(module.Model.bind())
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_plain_classes_of_a_module_go_by_reference(module):
    """Undecorated classes in arguments stay the classes they are."""
    init = dump(((module.Outer,), {}), no_handles)
    assert load_init(init, no_handles) == ((module.Outer,), {})


def test_classes_in_functions_go_by_value():
    """A class inside of a function is pickled by value, closure included."""
    factor = 3

    class Local:
        def get(self):
            return factor * 2

    code = load_code(code_of(deployment(Local).bind()), no_handles)
    assert code is not None
    assert code().get() == 6


def test_code_of_main_runs_in_another_process(tmp_path):
    """A script's classes and arguments load where the script is not."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import dataclasses, sys
from alacarte._model.deployment import deployment
from alacarte._model.graph import build_application

SCALE = {"a": 2, "b": 3}

@dataclasses.dataclass
class Settings:
    key: str

def scale(key):
    return SCALE[key]

@deployment
class Model:
    def __init__(self, settings, child):
        self.settings, self.child = settings, child
    def __call__(self):
        return scale(self.settings.key), self.child

@deployment
def inner():
    return scale("b")

app = Model.bind(Settings("a"), inner.bind())
spec = build_application(app, name="app", route_prefix=None)
import pickle
sys.stdout.buffer.write(pickle.dumps([(d.code, d.init) for d in spec.deployments]))
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, check=True)
    (inner, _), (code, init) = pickle.loads(done.stdout)
    args, kwargs = load_init(init, str)
    assert load_code(code, no_handles)(*args, **kwargs)() == (2, "app#inner")
    assert load_code(inner, no_handles)() == 3


def test_make_handle_is_called_once_for_each_deployment():
    """One deployment bound in two places is one handle."""
    app = deployment(name="inner")(type("Inner", (), {})).bind()
    outer = deployment(name="outer")(type("Outer", (), {})).bind([app, app], key=app)
    spec = build_application(outer, name="app", route_prefix=None)
    made = []
    load_init(spec.deployments[-1].init, made.append)
    assert [str(deployment) for deployment in made] == ["app#inner"]


def test_foreign_persistent_ids_are_refused():
    """A pickle with other persistent ids does not load."""

    class Foreign(pickle.Pickler):
        def persistent_id(self, obj):
            return ("other", (1, 2)) if obj == "x" else None

    import io

    file = io.BytesIO()
    Foreign(file).dump((["x"], {}))
    with pytest.raises(pickle.UnpicklingError, match="unknown persistent id"):
        load_init(file.getvalue(), no_handles)
