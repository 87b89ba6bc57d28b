"""Building an application into specs, and loading arguments and code in a replica."""

import dataclasses
import logging
import pickle
import threading

import pytest

from alacarte._model.deployment import deployment
from alacarte._model.deployment_spec import ApplicationSpec
from alacarte._model.graph import build_application, load_code, load_init
from alacarte.errors import ConfigError
from alacarte.types import DeploymentId


class Model:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


@dataclasses.dataclass
class Stages:
    first: object
    others: list


def build(app, name="app", route_prefix="/"):
    return build_application(app, name=name, route_prefix=route_prefix)


def names(spec):
    return [deployment.id.name for deployment in spec.deployments]


def arguments(spec, name):
    (found,) = (d for d in spec.deployments if d.id.name == name)
    return load_init(found.init, lambda deployment: f"handle of {deployment}")


def named(name):
    return deployment(name=name)(Model)


def test_one_deployment():
    """An application of one deployment: itself the ingress, arguments and options kept."""
    app = named("model").options(num_replicas=3).bind(1, size=2)
    spec = build(app, "shop", "/shop")
    assert (spec.name, spec.route_prefix) == ("shop", "/shop")
    assert spec.ingress == DeploymentId("shop", "model")
    (only,) = spec.deployments
    assert only.id == spec.ingress
    assert only.config.num_replicas == 3
    assert only.is_function is False
    assert only.import_paths
    assert load_init(only.init, None) == ((1,), {"size": 2})


def test_specs_pickle():
    """A spec goes to the controller and to disk as it is."""
    spec = build(named("model").bind(named("inner").bind()))
    copy = pickle.loads(pickle.dumps(spec))
    assert isinstance(copy, ApplicationSpec)
    assert copy == spec


def test_function_deployment():
    """A function arrives as a function."""

    @deployment
    def double(x):
        return 2 * x

    (only,) = build(double.bind()).deployments
    assert only.is_function is True
    assert load_code(only.code, None)(4) == 8
    assert load_init(only.init, None) == ((), {})


def test_bound_arguments_become_handles():
    """An application among the arguments arrives as a handle."""
    spec = build(named("outer").bind(named("inner").bind(), other=named("second").bind()))
    assert arguments(spec, "outer") == (
        ("handle of app#inner",),
        {"other": "handle of app#second"},
    )


def test_nested_deep_inside_arguments():
    """Applications are found in lists, dicts, dataclasses, and whatever else pickles."""
    a, b, c = (named(name).bind() for name in "abc")
    spec = build(named("outer").bind([1, {"key": (a,)}], Stages(b, [c]), lambda: c))
    (listed, stages, closure), _ = arguments(spec, "outer")
    assert listed == [1, {"key": ("handle of app#a",)}]
    assert stages.first == "handle of app#b"
    assert stages.others == ["handle of app#c"]
    assert closure() == "handle of app#c"


def test_captured_in_code():
    """Applications that a class or function refers to are deployed and arrive as handles."""
    inner = named("inner").bind()

    @deployment
    class Outer:
        def get(self):
            return inner

    @deployment
    def outer():
        return inner

    for target in (Outer, outer):
        spec = build(target.bind())
        assert names(spec)[0] == "inner"
        code = load_code(spec.deployments[1].code, lambda deployment: deployment)
        got = code() if target is outer else code().get()
        assert got == DeploymentId("app", "inner")


def test_code_that_names_its_own_application():
    """A class may refer to the application it is bound in; it gets a handle to itself."""

    @deployment
    class Loop:
        def get(self):
            return app

    app = Loop.bind()
    spec = build(app)
    assert names(spec) == ["Loop"]
    code = load_code(spec.deployments[0].code, lambda deployment: deployment)
    assert code().get() == DeploymentId("app", "Loop")


def test_callees_come_before_callers():
    """Each deployment follows all that it calls, the ingress last."""
    c = named("c").bind()
    b = named("b").bind(c)
    a = named("a").bind(b, c)
    assert names(build(named("ingress").bind(a, b))) == ["c", "b", "a", "ingress"]


def test_same_object_is_one_deployment():
    """A diamond: the object bound twice is deployed once, and is one handle in one constructor."""
    shared = named("shared").bind()
    left, right = named("left").bind(shared), named("right").bind(shared)
    spec = build(named("top").bind(left, right, shared, [shared]))
    assert names(spec) == ["shared", "left", "right", "top"]
    top = spec.deployments[-1]
    (_, _, first, (second,)), _ = load_init(top.init, lambda deployment: object())
    assert first is second


def test_equal_names_get_suffixes(caplog):
    """Distinct applications of one name are told apart by suffixes, with a warning."""
    model = named("model")
    with caplog.at_level(logging.WARNING):
        spec = build(named("top").bind(model.bind(1), model.bind(2), model.bind(3)))
    assert names(spec) == ["model", "model_1", "model_2", "top"]
    assert arguments(spec, "model_1") == ((2,), {})
    assert "one is now model_1" in caplog.text
    assert "one is now model_2" in caplog.text


def test_suffixes_avoid_names_in_use():
    """A suffixed name that a user chose is skipped."""
    model = named("model")
    spec = build(named("top").bind(named("model_1").bind(), model.bind(1), model.bind(2)))
    assert names(spec) == ["model_1", "model", "model_2", "top"]


def test_unique_names_give_no_warning(caplog):
    """Unique names log no warning."""
    with caplog.at_level(logging.WARNING):
        build(named("top").bind(named("model").bind()))
    assert caplog.text == ""


def test_building_leaves_the_application_alone():
    """The same application can be built again, under another name."""
    app = named("top").bind(named("model").bind())
    assert str(build(app, "one").ingress) == "one#top"
    assert str(build(app, "two").ingress) == "two#top"


@pytest.mark.parametrize(
    ("args", "kwargs", "culprit"),
    [
        ((1, threading.Lock()), {}, "argument 2"),
        ((), {"size": 1, "lock": threading.Lock()}, "argument 'lock'"),
        (([{"deep": threading.Lock()}],), {}, "argument 1"),
    ],
)
def test_argument_that_does_not_pickle(args, kwargs, culprit):
    """The error names the deployment, the argument and the reason."""
    with pytest.raises(ConfigError) as caught:
        build(named("model").bind(*args, **kwargs))
    message = str(caught.value)
    assert message.startswith(f"model: {culprit} of bind() cannot be sent to replicas (")
    assert "cannot pickle '_thread.lock' object" in message


def test_argument_of_a_nested_deployment_that_does_not_pickle():
    """The error names the inner deployment."""
    with pytest.raises(ConfigError, match=r"^inner: argument 1 of bind"):
        build(named("outer").bind(0, named("inner").bind(threading.Lock())))


def test_argument_whose_own_pickling_fails():
    """Whatever a user's `__reduce__` raises becomes the same error, with its cause."""

    class Broken:
        def __reduce__(self):
            raise KeyError("boom")

    with pytest.raises(ConfigError, match="KeyError: 'boom'") as caught:
        build(named("model").bind(Broken()))
    assert isinstance(caught.value.__cause__, KeyError)


def test_code_that_does_not_pickle():
    """The error says that it is the code, why, and what to do."""
    lock = threading.Lock()

    @deployment
    class Locked:
        def get(self):
            return lock

    with pytest.raises(ConfigError, match=r"^Locked: its code cannot .*_thread\.lock.*__init__"):
        build(Locked.bind())


@pytest.mark.parametrize("target", [named("model"), Model, None])
def test_target_must_be_an_application(target):
    """Anything that was not bound is refused with a hint."""
    with pytest.raises(TypeError, match=r"which \.bind\(\) of a deployment returns"):
        build(target)


def test_application_name_must_not_be_empty():
    """An empty name is refused."""
    with pytest.raises(ConfigError, match="name must not be empty"):
        build(named("model").bind(), name="")


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("", "'' must begin with \"/\"; write '/', or None for no HTTP."),
        ("api", "'api' must begin with \"/\"; write '/api', or None for no HTTP."),
        ("a/", "'a/' must begin with \"/\"; write '/a', or None for no HTTP."),
        ("/a/", "'/a/' must not end with \"/\"; write '/a', or None for no HTTP."),
        ("//", "'//' must not end with \"/\"; write '/', or None for no HTTP."),
        ("/{a}", "'/{a}' must not contain '{' (prefixes match decoded paths"),
        ("/a b", "'/a b' must not contain ' ' (prefixes match decoded paths"),
        ("/a\u00a0b", "must not contain '\\xa0' (prefixes match decoded paths"),
        ("/a?b=c", "without patterns); write '/a-b=c', or None for no HTTP."),
        ("/a%20b", "'/a%20b' must not contain '%' (prefixes match decoded paths"),
        ("/-", "'/-' is reserved for alacarte's own pages, such as /-/healthz; choose another."),
        ("/-/x", "'/-/x' is reserved for alacarte's own pages, such as /-/healthz; choose"),
        (5, '5 must be a string such as "/images", or None for no HTTP.'),
    ],
)
def test_bad_route_prefix(prefix, told):
    """The error names the broken rule, and proposes a prefix."""
    with pytest.raises(ConfigError) as caught:
        build(named("model").bind(), route_prefix=prefix)
    assert str(caught.value).startswith(f"app: route_prefix={prefix!r} ")
    assert told in str(caught.value)


@pytest.mark.parametrize("prefix", [None, "/", "/a", "/a/b", "/-a", "/a-b_c.d", "/größe"])
def test_good_route_prefix(prefix):
    """The root, a path, and None are valid prefixes."""
    assert build(named("model").bind(), route_prefix=prefix).route_prefix == prefix
