"""Public names and commands that a plugin adds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiName:
    """A public name that a plugin adds to `alacarte.serve`.

    Attributes:
        name: As the user writes it after `serve.`; with a dot for a submodule's
            ("handle.DeploymentHandle").
        target: `"module:attribute"`, imported when first used.
    """

    name: str
    target: str


@dataclass(frozen=True)
class Command:
    """A subcommand of the `serve` program.

    Attributes:
        name: As typed after `serve`.
        help: One line.
        target: `"module:attribute"` of an object with two methods: `arguments(parser)` declares
            arguments on an `argparse` parser, and `run(options) -> int` returns the exit code.
    """

    name: str
    help: str
    target: str
