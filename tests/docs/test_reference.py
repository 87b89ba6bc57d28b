"""Every hook, option, error, command and variable has a place where a user would look for it."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest
from tests.docs.pages import ROOT

import alacarte_batching.errors
import alacarte_endpoints.errors
from alacarte import errors
from alacarte.config import (
    ClusterOptions,
    DeploymentConfig,
    RayActorOptions,
)
from alacarte.plugins import load_plugins
from alacarte_autoscaling.config import AutoscalingConfig, AutoscalingPolicy
from alacarte_endpoints.config import BackendConfig
from alacarte_http.config import HTTPOptions

DOCS = ROOT / "docs"
# Ours, whichever package brings them.
HOOKS = {
    name: specification.function
    for name, specification in load_plugins().specifications.items()
    if specification.module.__name__.startswith("alacarte")
}
MODELS = [
    DeploymentConfig,
    RayActorOptions,
    AutoscalingConfig,
    AutoscalingPolicy,
    ClusterOptions,
    BackendConfig,
    HTTPOptions,
]
# Ours, whichever package gives them.
COMMANDS = [
    command.name
    for command in load_plugins().commands.values()
    if command.target.startswith("alacarte_")
]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]
ERRORS = sorted(
    {
        *errors.__all__,
        *alacarte_batching.errors.__all__,
        *alacarte_endpoints.errors.__all__,
    }
    - {"ErrorCode", "RayServeException", "request_code"}
)

sys.path.insert(0, str(DOCS / "_ext"))
from option_tables import descriptions  # noqa: E402  an extension of the documentation's


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", HOOKS)
def test_headings_give_signatures(hook: str):
    """The plugin author's guide shows each hook exactly as core calls it."""
    signature = str(inspect.signature(HOOKS[hook])).replace("'", "")
    assert f"\n## `{hook}{signature}`\n" in text("plugins/hooks.md")


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_say_what_happens_when_they_raise(hook: str):
    """Whoever writes a plugin knows what its failure costs, and whom."""
    sections = re.split(r"^(?=\(\w+\)=$)", text("plugins/hooks.md"), flags=re.MULTILINE)
    [section] = [each for each in sections if each.startswith(f"({hook})=")]
    assert "raises" in section


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_have_examples(hook: str):
    """Below each hook there is an implementation to copy, which the tests of examples run."""
    sections = re.split(r"^(?=\(\w+\)=$)", text("plugins/hooks.md"), flags=re.MULTILINE)
    [section] = [each for each in sections if each.startswith(f"({hook})=")]
    assert re.search(rf"^@hookimpl.*\ndef {hook}\(", section, re.MULTILINE)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_options_are_described(model: type):
    """Each option says what it means, and each table is on the page of options."""
    described = descriptions(model.__doc__ or "")
    assert sorted(described) == sorted(model.model_fields)  # type: ignore[attr-defined]
    assert f"{{options}} {model.__module__}:{model.__name__}" in text("reference/options.md")


@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_explained(error: str):
    """Each error has a heading in the guide: when, and what to do."""
    assert f"\n### `{error}`\n" in text("how-to/errors.md")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_shown(command: str):
    """Each command has its heading and its help in the reference."""
    page = text("reference/command-line.md")
    assert f"## `alacarte {command}`\n\n```{{program-help}} {command}\n" in page


def test_modules_have_a_place():
    """Each public module of core is in the reference."""
    core = ROOT / "packages" / "core" / "src" / "alacarte"
    found = {path.stem for path in core.glob("*.py")} | {
        p.parent.name for p in core.glob("*/__init__.py")
    }
    public = sorted(f"alacarte.{name}" for name in found if not name.startswith("_"))
    pages = "".join(path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md"))
    assert [name for name in public if name not in pages] == []


def test_variables_are_listed():
    """Each environment variable that the code reads is in the guide."""
    read = {
        name
        for path in ROOT.glob("packages/*/src/**/*.py")
        for name in re.findall(r'"((?:ALACARTE|RAY_SERVE)_[A-Z_]+)"', path.read_text("utf-8"))
        if not name.endswith("_")
    }
    assert read
    assert [
        name for name in sorted(read) if f"`{name}`" not in text("how-to/configuration.md")
    ] == []


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path):
    """What a README links to in this repository is there."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_gallery_lists_hooks():
    """The gallery of plugins names ours, and only hooks that each of them implements."""
    rows = re.findall(
        r"^\| \[?(alacarte-\w+|`tests/[^|]*)\]?[^|]*\|.*\| (.*) \|$", text("plugins/index.md"), re.M
    )
    listed = {name: set(re.findall(r"`(\w+)`", hooks)) for name, hooks in rows}
    ours = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")} - {"core", "serve"}
    assert {f"alacarte-{name}" for name in ours} <= set(listed)
    for name, hooks in listed.items():
        folders = re.findall(r"tests/\w+", name) or [f"packages/{name.removeprefix('alacarte-')}"]
        sources = [
            path.read_text("utf-8") for f in folders for path in ROOT.glob(f"{f}/src/**/*.py")
        ]
        implemented = set(re.findall(r"@hookimpl.*\n(?:async )?def (\w+)", "\n".join(sources)))
        assert hooks <= implemented, name


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors_exist(path: Path):
    """A link of a README to a section of another page leads to a heading of that page."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)#([^)]+)", path.read_text(encoding="utf-8"))
    for page, anchor in links:
        target = (path.parent / page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)$", target, re.M)
        slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        assert anchor in slugs | set(re.findall(r"^\(([\w-]+)\)=$", target, re.M)), page
