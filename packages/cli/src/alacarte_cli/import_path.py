"""Where a user's application is: `module:attribute`, and how to fetch it."""

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
    """A module and, within it, an attribute, which may have dots of its own."""

    module: str
    attribute: str

    @classmethod
    def locate(cls, text: str, app_dir: Path) -> tuple[ImportPath, Path]:
        """Read what a user typed; return the import path, and where its module is.

        Besides what `parse` reads, a path to a file, with or without `.py`: "src/greeter.py:app".
        A file in a package is the package's module.

        Args:
            app_dir: Where modules and relative paths are looked for.

        Raises:
            ConfigError: It is neither, or there is no such file.
        """
        module, _, attribute = text.partition(":")
        if "/" not in module and not module.endswith(".py"):
            return cls.parse(text), app_dir
        if not attribute:
            raise ConfigError(f"{text!r} names a file and no application in it; write {text}:app.")
        file = app_dir / module
        file = file if file.suffix == ".py" else file.with_name(f"{file.name}.py")
        if not file.is_file():
            raise ConfigError(f"there is no file {file} (import path {text!r}).")
        folder, names = file.parent, [file.stem]
        while (folder / "__init__.py").is_file():
            folder, names = folder.parent, [folder.name, *names]
        if not all(map(str.isidentifier, names)):
            raise ConfigError(
                f"{file} cannot be imported: a module's name may hold letters, digits and _; "
                "rename it."
            )
        return cls.parse(f"{'.'.join(names)}:{attribute}"), folder

    @classmethod
    def parse(cls, text: str) -> ImportPath:
        """Read `module:attribute` or, with the last dot as the border, `module.attribute`.

        Raises:
            ConfigError: It is neither; the message says what was probably meant.
        """
        module, colon, attribute = text.partition(":")
        if module.endswith((".yaml", ".yml", ".json")):
            raise ConfigError(f"{text!r} is a file; give an import path, such as app:app.")
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
        """Import the module, looking into `app_dir` first, and return the attribute.

        `app_dir` stays on `sys.path`: what the application imports later is found there too.

        Raises:
            ConfigError: No such module or attribute. What the module itself raises passes
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
                raise  # the module was found, and something it imports was not
            raise ConfigError(
                f"no module {missing!r} (import path {str(self)!r}, looked in {app_dir})"
                f"{_or_rather(missing.rpartition('.')[2], _modules(app_dir, missing))}"
            ) from None


def _no_attribute(value: object, name: str) -> str:
    file = getattr(value, "__file__", None)
    what = getattr(value, "__name__", type(value).__name__)
    return (
        f"{what!r}{f' ({file})' if file else ''} has no attribute {name!r}"
        f"{_or_rather(name, (known for known in dir(value) if not known.startswith('_')))}"
    )


def _modules(app_dir: Path, missing: str) -> Iterable[str]:
    """Yield the names of modules that lie where the missing one was looked for."""
    folder = app_dir.joinpath(*missing.split(".")[:-1])
    if folder.is_dir():
        yield from (file.stem for file in folder.glob("*.py") if file.stem.isidentifier())
        yield from (file.parent.name for file in folder.glob("*/__init__.py"))


def _or_rather(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, sorted(set(known)), n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
