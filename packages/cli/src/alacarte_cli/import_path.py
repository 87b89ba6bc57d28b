"""Import paths, `module:attribute`, which name a user's application."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from alacarte.errors import ConfigError

__all__ = ["ImportPath"]


@dataclass(frozen=True)
class ImportPath:
    """A module and an attribute of it, which may be a dotted path."""

    module: str
    attribute: str

    @classmethod
    def locate(cls, text: str, app_dir: Path) -> tuple[ImportPath, Path]:
        """Return the import path in a user's argument, and the directory of its module.

        Accepts the forms of `parse`, and the path of a file, with or without `.py`:
        "src/greeter.py:app". A file in a package is a module of the package.

        Args:
            text: The user's argument.
            app_dir: The directory of modules and relative paths.

        Raises:
            ConfigError: The argument has neither form, or the file does not exist.
        """
        module, _, attribute = text.partition(":")
        if "/" not in module and not module.endswith(".py"):
            return cls.parse(text), app_dir
        if not attribute:
            raise ConfigError(f"{text!r} names a file, but no application; write {text}:app.")
        file = app_dir / module
        file = file if file.suffix == ".py" else file.with_name(f"{file.name}.py")
        if not file.is_file():
            raise ConfigError(f"the file {file} does not exist (import path {text!r}).")
        folder, names = file.parent, [file.stem]
        while (folder / "__init__.py").is_file():
            folder, names = folder.parent, [folder.name, *names]
        if not all(map(str.isidentifier, names)):
            raise ConfigError(
                f"{file} cannot be imported: the name of a module may contain letters, digits and "
                "_ only; rename the file."
            )
        return cls.parse(f"{'.'.join(names)}:{attribute}"), folder

    @classmethod
    def parse(cls, text: str) -> ImportPath:
        """Return the import path in `module:attribute`, or in `module.attribute`.

        Raises:
            ConfigError: The text has neither form.
        """
        module, colon, attribute = text.partition(":")
        if module.endswith((".yaml", ".yml", ".json")):
            raise ConfigError(f"{text!r} is a file; write an import path, such as app:app.")
        if not colon:
            module, _, attribute = text.rpartition(".")
        names = [*module.split("."), *attribute.split(".")]
        if not all(name.isidentifier() for name in names):
            raise ConfigError(
                f"{text!r} is not an import path; write module:attribute, such as app:app."
            )
        return cls(module, attribute)

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"

    def load(self, app_dir: Path) -> object:
        """Import the module, with `app_dir` first on `sys.path`, and return the attribute.

        `app_dir` stays on `sys.path` for later imports of the application.

        Raises:
            ConfigError: The module or attribute does not exist. Errors of the module pass
                unchanged.
        """
        sys.path.insert(0, str(app_dir))
        value = self._import(app_dir)
        for name in self.attribute.split("."):
            if not hasattr(value, name):
                raise ConfigError(_no_attribute(value, name))
            value = getattr(value, name)
        return value

    def _import(self, app_dir: Path) -> object:
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if not f"{self.module}.".startswith(f"{missing}."):
                raise  # the module exists, and imports a module that does not
            raise ConfigError(
                f"no module {missing!r} in {app_dir} (import path {str(self)!r})"
                f"{_suggestion(missing.rpartition('.')[2], _modules(app_dir, missing))}"
            ) from None


def _no_attribute(value: object, name: str) -> str:
    file = getattr(value, "__file__", None)
    owner = getattr(value, "__name__", type(value).__name__)
    return (
        f"{owner!r}{f' ({file})' if file else ''} has no attribute {name!r}"
        f"{_suggestion(name, (known for known in dir(value) if not known.startswith('_')))}"
    )


def _modules(app_dir: Path, missing: str) -> Iterable[str]:
    """Yield the names of the modules in the directory of a missing module."""
    folder = app_dir.joinpath(*missing.split(".")[:-1])
    if folder.is_dir():
        yield from (file.stem for file in folder.glob("*.py") if file.stem.isidentifier())
        yield from (file.parent.name for file in folder.glob("*/__init__.py"))


def _suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: similar names, if any."""
    close = get_close_matches(name, sorted(set(known)), n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
