from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alacarte.errors import ConfigError
from alacarte_cli.import_path import ImportPath

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("text", "module", "attribute"),
    [
        ("app:model", "app", "model"),
        ("pkg.app:model", "pkg.app", "model"),
        ("pkg.app.model", "pkg.app", "model"),
        ("app:models.small", "app", "models.small"),
    ],
)
def test_both_spellings_are_read(text: str, module: str, attribute: str) -> None:
    """A colon, or without a colon the last dot, separates module and attribute."""
    assert ImportPath.parse(text) == ImportPath(module, attribute)


@pytest.mark.parametrize("text", ["app", "", ":", "app:", ":app", "a b:c", "app:1", "a..b:c", ".a"])
def test_nonsense_is_refused(text: str) -> None:
    """The error for another text shows the form of an import path."""
    with pytest.raises(ConfigError, match="module:attribute"):
        ImportPath.parse(text)


@pytest.mark.parametrize(
    ("text", "expected", "folder"),
    [
        ("app:model", "app:model", ""),
        ("app.py:model", "app:model", ""),
        ("./app.py:model", "app:model", ""),
        ("src/app:model", "app:model", "src"),
        ("src/app.py:model.small", "app:model.small", "src"),
        ("src/pkg/sub/deep.py:model", "pkg.sub.deep:model", "src"),
        ("{here}/src/app:model", "app:model", "src"),
    ],
)
def test_a_file_is_found(module: Write, text: str, expected: str, folder: str) -> None:
    """The path of a file becomes the file's module, and the directory to import it from."""
    for name in ("app", "src.app", "src.pkg.__init__", "src.pkg.sub.__init__"):
        here = module(name)
    module("src.pkg.sub.deep")
    found, app_dir = ImportPath.locate(text.format(here=here), here)
    assert (str(found), app_dir) == (expected, here / folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("app.py", "'app.py' names a file, but no application; write app.py:app"),
        ("src/app", "write src/app:app"),
        ("nowhere.py:app", r"/nowhere.py does not exist \(import path 'nowhere.py:app'\)"),
        ("/abs/nowhere:app", "the file /abs/nowhere.py does not exist"),
        ("my-app.py:app", "my-app.py cannot be imported: the name of a module may contain letters"),
    ],
)
def test_a_file_that_is_none(module: Write, text: str, reason: str) -> None:
    """A file without an application, one that is not there, and one that cannot be imported."""
    here = module("app")
    (here / "my-app.py").touch()
    with pytest.raises(ConfigError, match=reason):
        ImportPath.locate(text, here)


def test_a_configuration_file_is_no_import_path() -> None:
    """`config.yaml` is not read as the attribute `yaml` of a module `config`."""
    with pytest.raises(ConfigError, match="is a file"):
        ImportPath.parse("config.yaml")


def test_the_module_is_looked_for_in_app_dir_first(module: Write) -> None:
    """A module of app_dir is found, even where an installed one has the same name."""
    app_dir = module("this", "import this_too\nvalue = this_too.value")
    module("this_too", "value = 'mine'")
    assert ImportPath("this", "value").load(app_dir) == "mine"


def test_attributes_of_attributes_are_reached(module: Write) -> None:
    """The attribute may be a dotted path."""
    app_dir = module("nested_app", "class models:\n    small = 3")
    assert ImportPath("nested_app", "models.small").load(app_dir) == 3


def test_a_missing_module_names_near_ones(module: Write) -> None:
    """The error names the module, the directory, and a module of a similar name."""
    app_dir = module("my_application")
    with pytest.raises(ConfigError, match=r"no module 'my_aplication' .*mean 'my_application'\?"):
        ImportPath("my_aplication", "app").load(app_dir)


def test_a_missing_submodule_names_its_neighbours(module: Write) -> None:
    """The similar names for a submodule come from its package."""
    app_dir = module("some_pkg.__init__")
    module("some_pkg.service")
    with pytest.raises(ConfigError, match=r"no module 'some_pkg.servise' .*mean 'service'\?"):
        ImportPath("some_pkg.servise", "app").load(app_dir)


def test_a_missing_attribute_names_near_ones(module: Write) -> None:
    """The error names the module's file and an attribute of a similar name."""
    app_dir = module("attr_app", "application = 1")
    with pytest.raises(
        ConfigError, match=r"attr_app.py\) has no attribute 'aplication'; .*'application'\?"
    ):
        ImportPath("attr_app", "aplication").load(app_dir)


def test_what_the_module_itself_raises_passes_unchanged(module: Write) -> None:
    """A module found whose own import is missing is not reported as a wrong import path."""
    app_dir = module("needy_app", "import not_installed_anywhere")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        ImportPath("needy_app", "app").load(app_dir)
