"""The version: equal for equal programs in any process, different to replace replicas."""

import subprocess
import sys
import textwrap

import pytest

from alacarte._model.deployment import deployment
from alacarte._model.graph import build_application

HEADER = """
from alacarte._model.deployment import deployment
from alacarte._model.graph import build_application

def show(app):
    spec = build_application(app, name="app", route_prefix="/")
    print(*(d.version for d in spec.deployments))
"""

SCRIPT = """
import dataclasses, enum, re
from collections import defaultdict

STOP = {"the", "a", "of", "and", "or", "not"}
TABLE = {frozenset({"x", "y"}): {("a", 1), ("b", 2)}}
PATTERN = re.compile("[a-z]+")

class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"

@dataclasses.dataclass
class Settings:
    words: set = dataclasses.field(default_factory=lambda: {"p", "q", "r"})

class Base:
    kinds = frozenset({"one", "two", "three"})

def make(limit):
    seen = {"alpha", "beta", "gamma"}
    def check(word):
        return word in seen and len(word) < limit
    return check

@deployment
class Model(Base):
    names = {"u", "v", "w"}
    def __init__(self, settings, child, *, tags=None):
        self.settings, self.child, self.tags = settings, child, tags
        self.counts = defaultdict(int)
    def __call__(self, word: str) -> str:
        if word in {"k1", "k2", "k3", "k4"} or word in STOP or not PATTERN.match(word):
            return Color.RED.value
        return [w for w in TABLE if check(word)] and super().__repr__()

check = make(3)

@deployment
def child(x, *, y=("d", "e")):
    return x in {"m", "n", "o"}

app = Model.bind(Settings(), [child.bind()], tags={"s1", "s2", ("s", 3), Color.BLUE})
"""


def run(path, *, seed="0", module=False):
    arguments = ["-m", path.stem] if module else [str(path)]
    done = subprocess.run(
        [sys.executable, *arguments],
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        cwd=path.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def as_main(code, file="/some/script.py"):
    """Run a script's text in this process and return its `app`."""
    names = {"__name__": "__main__", "__file__": file, "deployment": deployment}
    exec(compile(code, file, "exec"), names)  # noqa: S102  # a script of this test
    return names["app"]


def version(app):
    return build_application(app, name="app", route_prefix="/").deployments[-1].version


class Model:
    def __init__(self, *args, **kwargs):
        pass


def model(*args, **options):
    return version(deployment(Model, **options).bind(*args))


def test_a_version_is_sixteen_hexadecimal_characters():
    """Short enough for names, long enough not to collide."""
    assert len(model()) == 16
    int(model(), 16)


@pytest.mark.parametrize("module", [False, True])
def test_a_script_has_the_same_versions_in_every_process(tmp_path, module):
    """Sets, closures, enums and dataclasses of `__main__` digest alike whatever the hash seed.

    With `-m` the second run loads cached bytecode, which must not differ from fresh.
    """
    script = tmp_path / "script.py"
    script.write_text(HEADER + SCRIPT + "show(app); show(app)")
    runs = [run(script, seed=seed, module=module) for seed in ("1", "2")]
    assert runs[0] == runs[1]
    assert runs[0][:2] == runs[0][2:]
    assert len(set(runs[0])) == 2


def test_a_module_has_the_same_versions_in_every_process(tmp_path):
    """The same for a program whose deployments lie in a module."""
    (tmp_path / "app.py").write_text(HEADER + SCRIPT)
    driver = tmp_path / "driver.py"
    driver.write_text("import app; app.show(app.app)")
    assert run(driver, seed="1") == run(driver, seed="2")


def test_lines_and_place_of_a_script_do_not_count():
    """A line added above, another directory, or a notebook's cell run again is no change."""
    code = "@deployment\nclass Model:\n    def get(self):\n        return [x for x in (1, 2)]\n"
    app = "app = Model.bind()"
    before = version(as_main(code + app, "/one/script.py"))
    assert version(as_main("UNUSED = 1\n\n\n" + code + app, "/one/script.py")) == before
    assert version(as_main(code + app, "/two/script.py")) == before


def test_own_file_counts_where_it_is_used():
    """The version of code that uses `__file__` changes with the file's path."""
    code = "@deployment\ndef where():\n    return __file__\napp = where.bind()"
    assert version(as_main(code, "/one/script.py")) != version(as_main(code, "/two/script.py"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("limit", "l1mit"),
        ("len(word) < limit", "len(word) > limit"),
        ('"k4"', '"k5"'),
        ('"gamma"', '"delta"'),
        ('"and"', '"xor"'),
        ('"blue"', '"navy"'),
        ('"w"', '"z"'),
        ("word: str", "word: bytes"),
        ("app = Model", "Model.func_or_class.extra = 1; app = Model"),
        ("__call__(self, word: str) -> str:", "__call__(self, word: str, x=1) -> str:"),
    ],
)
def test_code_of_a_script_counts(old, new):
    """A changed method, constant, default, closure or global is another version."""
    assert old in SCRIPT
    assert version(as_main(SCRIPT)) == version(as_main(SCRIPT))
    assert version(as_main(SCRIPT)) != version(as_main(SCRIPT.replace(old, new)))


def test_a_helper_beside_a_script_counts(tmp_path):
    """A changed module that a script imports changes the version."""
    script, helper = tmp_path / "script.py", tmp_path / "helper.py"
    script.write_text(
        HEADER
        + "import helper\n@deployment\ndef f(x):\n    return helper.scale(x)\nshow(f.bind())\n"
    )
    helper.write_text("def scale(x):\n    return 1\n")
    before = run(script)
    assert run(script) == before
    helper.write_text("def scale(x):\n    return 2\n")
    assert run(script) != before


@pytest.mark.parametrize("changed", ["pack/app.py", "pack/helper.py", "pack/lazy.py", "lib/x.py"])
def test_every_file_a_deployment_imports_counts(tmp_path, changed):
    """The defining module, its package, lazy imports and other packages of the user's count."""
    files = {
        "pack/__init__.py": "",
        "pack/app.py": HEADER
        + textwrap.dedent(
            """
            from .helper import scale
            from lib.x import other
            @deployment
            class Model:
                def __call__(self):
                    from . import lazy
                    return scale(1)
            """
        ),
        "pack/helper.py": "def scale(x):\n    return x\n",
        "pack/lazy.py": "",
        "lib/__init__.py": "",
        "lib/x.py": "other = 1",
        "unrelated.py": "",
        "driver.py": "from pack import app; app.show(app.Model.bind())",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    driver = tmp_path / "driver.py"
    before = run(driver)
    (tmp_path / "unrelated.py").write_text("changed = True")
    driver.write_text(files["driver.py"] + "  # changed")
    assert run(driver) == before
    (tmp_path / changed).write_text(files[changed] + "\nCHANGED = True\n")
    assert run(driver) != before


def test_arguments_count():
    """Other constructor arguments are another version, equal ones the same."""
    assert model(1) == model(1)
    assert len({model(), model(1), model(2), model("1"), model([1])}) == 5


def test_sets_count_by_their_members():
    """Order of insertion does not matter; members, and set or frozenset, do."""
    assert model({"a", "b"}) == model({"b", "a"})
    assert model({("a", 1), ("b", 2)}) == model({("b", 2), ("a", 1)})
    kinds = [{"a"}, {"b"}, frozenset({"a"}), {1}, {True}, {1.0}, {("a",)}, set()]
    assert len({model(kind) for kind in kinds}) == len(kinds)


def test_a_set_that_holds_itself():
    """A cycle through a set ends."""

    class Node:
        def __init__(self):
            self.peers = {self}

    assert model(Node()) == model(Node())


def test_bound_deployments_count_by_name():
    """A caller changes when it calls another deployment, not when that one's code changes."""
    one, other = deployment(Model, name="one"), deployment(Model, name="other")
    assert model(one.bind(1)) == model(one.bind(2))
    assert model(one.bind()) != model(other.bind())


@pytest.mark.parametrize(
    "options",
    [
        {"ray_actor_options": {"num_cpus": 2}},
        {"ray_actor_options": {"runtime_env": {"env_vars": {"A": "1"}}}},
        {"max_replicas_per_node": 2},
        {"placement_group_bundles": [{"CPU": 1}]},
    ],
)
def test_options_of_the_process_count(options):
    """A change that a running process cannot take over changes the version."""
    assert model(**options) != model()


@pytest.mark.parametrize(
    "options",
    [
        {"num_replicas": 3},
        {"num_replicas": "auto"},
        {"user_config": {"a": 1}},
        {"max_ongoing_requests": 9},
        {"max_queued_requests": 9},
        {"graceful_shutdown_timeout_s": 9},
        {"health_check_period_s": 9},
        {"health_check_timeout_s": 9},
        {"max_constructor_retry_count": 9},
        {"routing_policy": "other"},
        {"placement": "pack"},
        {"ray_actor_options": {"num_cpus": 1}},
    ],
)
def test_other_options_do_not_count(options):
    """A change that is applied in place does not change the version, nor does a set default."""
    assert model(**options) == model()


def test_pickling_an_instance_first_does_not_matter():
    """Attributes that pickling adds to a class do not change the version."""
    import cloudpickle

    class Local:
        pass

    made = deployment(Local)
    before = version(made.bind())
    cloudpickle.dumps(Local())
    assert version(made.bind()) == before
