"""Run the code of one page: `python program.py PAGE CLUSTER PORT`, in an empty directory.

- `python` blocks run in order, in one namespace; notebook cells inside a running event loop, where
  they may `await`. Where a statement is followed by a comment on its last line,
  `print(...)  # 41` must print that, and a statement with `# raises NotFoundError` must
  raise it. A block whose first line names a file is saved as that file instead.
- `console` blocks: lines that begin with `$ ` are run in a shell, and what they print must be what
  follows; `...` stands for anything in a line, or by itself for any number of lines. What serves
  until Ctrl-C does so until the block ends.
- All other blocks (`sh`, `text`, `toml`) are read by people only.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import linecache
import os
import re
import shlex
import signal
import subprocess
import sys
import tokenize
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pages import ADDRESS, ROOT, Block, blocks, is_notebook

PATIENCE_S = 120


class Mismatch(Exception):
    """A page promises something else than what happens."""


class Page:
    """A page's code under way."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self.address = f"127.0.0.1:{port}"
        self.servers: list[subprocess.Popen[str]] = []
        self.cells = asyncio.Runner() if is_notebook(path) else None
        # The reader's program is the main module, and holds nothing of this one.
        self.main = ModuleType("__main__")
        sys.modules["__main__"] = self.main

    def run(self) -> None:
        with self.cells or contextlib.nullcontext():
            for block in blocks(self.path):
                text = block.text.replace(ADDRESS, self.address)
                if block.language in ("python", "yaml", "toml") and block.file:
                    Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                    Path(block.file).write_text(text, encoding="utf-8")
                elif block.language == "python":
                    self._python(block, text)
                elif block.language == "console":
                    try:
                        self._console(block, text)
                    finally:
                        self._interrupt()

    def _interrupt(self) -> None:
        """Press Ctrl-C in every shell that still serves."""
        for server in self.servers:
            server.send_signal(signal.SIGINT)
        for server in self.servers:
            try:
                if server.wait(90):  # a shutdown may wait 35 s for what is in progress
                    raise Mismatch(f"{server.args} ended with {server.returncode} after Ctrl-C")
            finally:
                server.kill()
                assert server.stdout is not None
                server.stdout.close()
        self.servers.clear()

    # --- Python -------------------------------------------------------------------------

    def _python(self, block: Block, text: str) -> None:
        # As many empty lines in front as the page has, so that tracebacks name its lines.
        source = "\n" * (block.line - 1) + text
        name = str(block.path)
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        comments = dict(_comments(source))
        for statement in ast.parse(source, name).body:
            assert statement.end_lineno is not None
            self._statement(statement, name, comments.get(statement.end_lineno, ""))

    def _statement(self, statement: ast.stmt, name: str, comment: str) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if self.cells else 0
        code = compile(ast.Module([statement], []), name, "exec", flags)
        expected = re.match(r"raises (\w+)", comment)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                self._execute(code)
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            if not expected or expected[1] not in kinds:
                raise
            print(f"{name}:{statement.lineno}: raised as promised: {error}")
            return
        if expected:
            raise Mismatch(f"{name}:{statement.lineno}: does not raise {expected[1]}")
        if comment and _is_print(statement):
            found = printed.getvalue().rstrip("\n")
            if not _matches(comment, found):
                raise Mismatch(f"{name}:{statement.lineno}: prints {found!r}, not {comment!r}")

    def _execute(self, code: CodeType) -> None:
        if self.cells is None:
            exec(code, self.main.__dict__)  # noqa: S102  the page's own code
        else:
            self.cells.run(_cell(code, self.main.__dict__))

    # --- shell --------------------------------------------------------------------------

    def _console(self, block: Block, text: str) -> None:
        for command, expected in _commands(text):
            words = shlex.split(command)
            where = f"{block.path}:{block.line}: $ {command}"
            if _serves(words) and (not expected or "http://" in expected):
                found = self._start(command)
            else:
                done = subprocess.run(
                    command,
                    shell=True,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_S,
                    check=False,
                )
                found = done.stdout + done.stderr if done.returncode else done.stdout
                print(where, done.stderr, sep="\n", file=sys.stderr)
                if done.returncode and not expected:
                    raise Mismatch(f"{where}\nended with {done.returncode}:\n{found}")
            if expected and not _matches(expected, found.rstrip("\n")):
                raise Mismatch(f"{where}\nprints\n{found}\nnot\n{expected}")

    def _start(self, command: str) -> str:
        """Start what serves until Ctrl-C; return what it prints up to where it listens."""
        server = subprocess.Popen(
            shlex.split(command), stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.servers.append(server)
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if "http://" in line:
                return "".join(said)
        raise Mismatch(f"{command} ended with {server.wait()}:\n{''.join(said)}")


async def _cell(code: CodeType, namespace: dict[str, Any]) -> None:
    value = eval(code, namespace)  # noqa: S307  the page's own code
    if inspect.iscoroutine(value):
        await value


def _serves(words: list[str]) -> bool:
    runs = words[0] == "alacarte" and words[1] == "run"
    return (runs and "--non-blocking" not in words) or "--serve" in words


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with what is shown to follow it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        lines = part.rstrip("\n").split("\n")
        count = next(n for n in range(1, len(lines) + 1) if _complete("\n".join(lines[:n])))
        yield "\n".join(lines[:count]), "\n".join(lines[count:])


def _complete(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:  # a quotation goes on in the next line, or a backslash ends this one
        return False
    return not command.endswith("\\")


def _comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.removeprefix("#").strip()


def _is_print(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and getattr(call.func, "id", "") == "print"


def _matches(promise: str, found: str) -> bool:
    """Compare, where `...` stands for anything in a line, or by itself for any number of lines."""
    pattern = ""
    for line in promise.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("...")) + r"\n"
    return re.fullmatch(pattern, found + "\n") is not None


def _connected(ray: Any) -> bool:
    """Connect to Ray; one that has just started may not take anybody yet."""
    try:
        ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
    except ConnectionError:
        return False
    return True


def main(path: Path, cluster: str, port: int) -> int:
    os.environ |= {
        "ALACARTE_CLUSTER": cluster,
        "ALACARTE_HTTP__PORT": str(port),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    Path("examples").symlink_to(ROOT / "examples")
    sys.path[0] = os.getcwd()
    if cluster == "ray":
        import ray

        from alacarte.testing import wait_until

        # That of the tests, whatever else runs on this machine; shells started here find it too.
        wait_until(lambda: _connected(ray), 60, "a connection to Ray")
    page = Page(path, port)
    try:
        page.run()
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        from alacarte import serve

        serve.shutdown()
        if cluster == "ray":
            serve.shutdown(force=True)  # the next page must find nothing
            ray.shutdown()
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]))
    sys.stdout.flush()
    sys.exit(code)
