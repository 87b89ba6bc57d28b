"""Record the session that the front page shows: `python docs/_pictures/record.py`.

It runs the commands below on a Ray of its own, and writes their standard output, with times, to
`session.json`; `draw.py` makes the pictures. (On a terminal, progress is a display that vanishes.)
Needs the packages installed, and port 8000 free.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
RUN = "alacarte run --non-blocking greeter:app"
CURL = 'curl -s "http://127.0.0.1:8000/?name=Ada"'
ASK = "python ask.py &"
COMMANDS = [
    RUN,
    CURL,
    ASK,
    "sed -i s/Hello/Welcome/ greeter.py",
    RUN,
    CURL,
    "kill -INT %1",
]
COMMENTS = {ASK: "# 50 requests a second", "kill -INT %1": "# how many were lost?"}


class Session:
    """Commands one after the other, and the lines that they print, in seconds from the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self._background: subprocess.Popen[str] | None = None
        self.events: list[dict[str, object]] = []

    def run(self, command: str) -> None:
        """Run a command to its end, or start the client in the background."""
        time.sleep(0.5)
        shown = f"{command}  {COMMENTS[command]}" if command in COMMENTS else command
        self._note("command", shown)
        if command == ASK:
            self._background = self._start("exec python ask.py")
            time.sleep(1.5)
            return
        if command.startswith("kill"):
            time.sleep(1.5)
            assert self._background is not None
            self._background.send_signal(signal.SIGINT)
            self._show(self._background)
            return
        self._show(self._start(command))

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            shell=True,
            cwd=self._folder,
            text=True,
            stdout=subprocess.PIPE,
        )

    def _show(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._note("output", line.rstrip("\n"))
        if process.wait():
            raise SystemExit(f"{process.args} ended with {process.returncode}")

    def _note(self, kind: str, text: str) -> None:
        at = round(time.monotonic() - self._began, 2)
        self.events.append({"at_s": at, "kind": kind, "text": text})
        sys.stdout.write(f"{at:6.2f}  {'$ ' if kind == 'command' else ''}{text}\n")


def main() -> None:
    """Record, and end what was started."""
    here = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([here, os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as folder:
        for name in ("greeter.py", "ask.py"):
            shutil.copy(HERE / name, folder)
        import ray

        context = ray.init(address="local", num_cpus=2, include_dashboard=False)
        os.environ["RAY_ADDRESS"] = context.address_info["gcs_address"]
        session = Session(Path(folder))
        try:
            for command in COMMANDS:
                session.run(command)
        finally:
            subprocess.run("alacarte shutdown -y", shell=True, check=False)
            ray.shutdown()
    text = json.dumps(session.events, indent=1, ensure_ascii=False)
    (HERE / "session.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
