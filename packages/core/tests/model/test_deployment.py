"""The decorator `@serve.deployment`, `options`, and `bind`."""

import pickle
import subprocess
import sys

import cloudpickle
import pytest

from alacarte._model.deployment import Application, Deployment, deployment
from alacarte.errors import ConfigError


class Resize:
    def __init__(self, width=1):
        self.width = width

    def __call__(self, image):
        return image


async def hello(request):
    return "hello"


def test_bare_on_a_class():
    """Without parentheses the decorator gives a deployment with the class's name."""
    made = deployment(Resize)
    assert isinstance(made, Deployment)
    assert (made.name, made.func_or_class, made.is_function) == ("Resize", Resize, False)


def test_bare_on_a_function():
    """A function, sync or async, is a deployment too."""
    made = deployment(hello)
    assert (made.name, made.func_or_class, made.is_function) == ("hello", hello, True)


def test_with_options():
    """With options the decorator takes the class afterwards."""
    made = deployment(name="resize", num_replicas=3, max_ongoing_requests=7)(Resize)
    assert (made.name, made.num_replicas, made.max_ongoing_requests) == ("resize", 3, 7)


def test_options_and_target_together():
    """The target may stand beside the options."""
    assert deployment(Resize, name="resize").name == "resize"


def test_defaults_are_those_of_ray_serve():
    """One replica, five requests at a time, one CPU; only the queue is bounded."""
    made = deployment(Resize)
    assert made.num_replicas == 1
    assert made.max_ongoing_requests == 5
    assert made.max_queued_requests == 1024
    assert made.ray_actor_options == {"num_cpus": 1.0}
    assert made.user_config is None
    assert made.version is None
    assert (made.init_args, made.init_kwargs) == ((), {})


def test_ray_actor_options_are_those_given_and_num_cpus():
    """The property gives back what the user wrote, with one CPU unless told otherwise."""
    made = deployment(ray_actor_options={"num_gpus": 1, "resources": {"A": 2}})(Resize)
    assert made.ray_actor_options == {"num_cpus": 1.0, "num_gpus": 1.0, "resources": {"A": 2.0}}


@pytest.mark.parametrize("target", [5, "Resize", Resize(), print])
def test_target_must_be_a_class_or_function(target):
    """Anything else is refused with its repr."""
    with pytest.raises(TypeError, match="must be made of a class or a function, not of"):
        deployment(target)


def test_target_may_not_be_a_deployment():
    """Decorating twice, or subclassing a deployment, is an error."""
    made = deployment(Resize)
    with pytest.raises(TypeError, match="must be made of a class or a function"):
        deployment(made)
    with pytest.raises(TypeError):

        class Sub(made):
            pass


def test_calling_a_deployment_says_to_bind():
    """A deployment is not called; the error shows what to write."""
    with pytest.raises(RuntimeError, match=r"serve\.run\(Resize\.bind\(\.\.\.\)\)"):
        deployment(Resize)(3)


def test_repr_shows_name_and_given_options():
    """The repr has the options that were set, and no others."""
    made = deployment(name="resize", num_replicas=2)(Resize)
    assert repr(made) == "Deployment(resize, num_replicas=2)"
    assert repr(deployment(Resize)) == "Deployment(Resize)"


def test_options_returns_an_independent_copy():
    """`options` changes the copy alone and keeps all that was set before."""
    first = deployment(num_replicas=2, user_config={"a": 1})(Resize)
    second = first.options(name="other", num_replicas=4)
    assert (first.name, first.num_replicas) == ("Resize", 2)
    assert (second.name, second.num_replicas, second.user_config) == ("other", 4, {"a": 1})


def test_options_remember_which_were_set():
    """Options left out stay apart from options set to their default."""
    made = deployment(max_ongoing_requests=5)(Resize).options(user_config=None)
    assert repr(made) == "Deployment(Resize, max_ongoing_requests=5, user_config=None)"


def test_options_can_change_the_target():
    """Another class under the same name and options."""
    first = deployment(num_replicas=2)(Resize)
    second = first.options(hello)
    assert (second.func_or_class, second.name, second.num_replicas) == (hello, "Resize", 2)


def test_later_changes_of_a_dict_are_not_seen():
    """A deployment keeps copies of what it is given."""
    config = {"threshold": [1]}
    made = deployment(user_config=config)(Resize)
    config["threshold"].append(2)
    assert made.user_config == {"threshold": [1]}
    assert made.options(num_replicas=2).user_config == {"threshold": [1]}


def test_bind_holds_the_arguments():
    """`bind` makes an application and leaves the deployment unbound."""
    made = deployment(Resize)
    app = made.bind(1, width=2)
    assert isinstance(app, Application)
    assert (app.args, app.kwargs) == ((1,), {"width": 2})
    assert app.deployment.init_args == (1,)
    assert made.init_args == ()


def test_bind_takes_any_keyword():
    """A constructor's own `self`-like names do not clash with ours."""
    assert deployment(Resize).bind(args=1, name=2, func_or_class=3).kwargs["name"] == 2


def test_options_of_a_bound_deployment_are_unbound():
    """Arguments belong to `bind`; `options` starts without any."""
    assert deployment(Resize).bind(1).deployment.options(name="x").init_args == ()


@pytest.mark.parametrize(("args", "kwargs"), [((1,), {}), ((), {"x": 1})])
def test_functions_take_no_bind_arguments(args, kwargs):
    """A function has no constructor to give them to."""
    with pytest.raises(ConfigError, match="hello: a function has no constructor"):
        deployment(hello).bind(*args, **kwargs)


def test_application_repr():
    """The repr reads like the expression that made it."""
    inner = deployment(name="inner")(Resize).bind()
    outer = deployment(Resize).bind(inner, width=2)
    assert repr(outer) == "Application(Resize.bind(Application(inner.bind()), width=2))"


def test_application_is_not_a_handle():
    """Calls on an application are a plain AttributeError."""
    with pytest.raises(AttributeError):
        deployment(Resize).bind().remote()


def test_equal_applications_are_distinct():
    """Applications compare by identity: two binds are two deployments."""
    made = deployment(Resize)
    assert made.bind() != made.bind()


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_deployments_pickle(pickler):
    """A deployment that user code refers to by name travels with it."""
    made = deployment(num_replicas=2)(Resize)
    copy = pickle.loads(pickler.dumps(made))
    assert (copy.name, copy.num_replicas) == ("Resize", 2)


def test_import_is_light():
    """`from alacarte import serve` imports neither pydantic nor ray nor cloudpickle."""
    program = (
        "import sys, alacarte._model.deployment; "
        "print(sorted({'pydantic', 'ray', 'cloudpickle', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
