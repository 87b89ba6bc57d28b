"""The resource kind of applications, and their expansion."""

import pytest

from alacarte._model.deployment_spec import ApplicationSpec, DeploymentSpec
from alacarte._model.kinds import ApplicationKind
from alacarte.config import DeploymentConfig
from alacarte.errors import InternalError
from alacarte.types import DeploymentId, Resource, Route

KIND = ApplicationKind()


def application(name, prefix):
    ingress = DeploymentId(name, "main")
    main = DeploymentSpec(ingress, "v", b"", b"", False, DeploymentConfig())
    return Resource("application", name, ApplicationSpec(name, prefix, ingress, (main,)))


def test_expands_to_deployments_and_one_route():
    """All traffic of the prefix goes to the ingress."""
    resource = application("shop", "/shop")
    expansion = KIND.expand(resource)
    assert expansion.deployments == resource.spec.deployments
    assert expansion.routes == (Route("/shop", "shop", {DeploymentId("shop", "main"): 1.0}),)


def test_without_prefix_there_is_no_route():
    """`route_prefix=None` keeps an application off HTTP."""
    assert KIND.expand(application("shop", None)).routes == ()


def test_foreign_spec_is_our_bug():
    """A resource of this kind with another spec raises InternalError."""
    with pytest.raises(InternalError, match="application x holds int"):
        KIND.expand(Resource("application", "x", 5))
