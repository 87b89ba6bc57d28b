"""Description of a deployment for plugins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._configuration import ConfigSections
from ._deployment_id import DeploymentId


class _NoOptions:
    """The options of a deployment that sets none."""

    def section(self, name: str) -> Any:
        return None


@dataclass(frozen=True)
class DeploymentInfo:
    """A deployment at one version, with the options that plugins add to deployments.

    Attributes:
        id: Application and name.
        version: Changes when replicas must be replaced; "" where the version is unknown.
        sections: The deployment's options; read them with `options`.
    """

    id: DeploymentId
    version: str = ""
    sections: ConfigSections = field(default_factory=_NoOptions, repr=False, compare=False)

    @property
    def application(self) -> str:
        """The name of the application."""
        return self.id.app

    @property
    def name(self) -> str:
        """The deployment's name within the application."""
        return self.id.name

    def options(self, section: str) -> Any:
        """Return the validated model of a section with `scope="deployment"`.

        None where the deployment does not set it.

        Raises:
            ConfigError: No installed plugin registers such a section.
        """
        return self.sections.section(section)

    def __str__(self) -> str:
        return str(self.id)
