"""Compiles modules of `packages/` with mypyc, into the wheel of alacarte-compiled.

The environment variable MYPYC_OPT_LEVEL is the C compiler's level of optimization, 3 by default.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
SETUP = """
import json, sys
from mypyc.build import mypycify
from setuptools import setup
options = ["--namespace-packages", "--explicit-package-bases", "--ignore-missing-imports",
           "--follow-imports=silent", *json.loads(sys.argv[1])]
setup(name="alacarte-compiled", packages=[],
      ext_modules=mypycify(options, opt_level=sys.argv[2], debug_level="0"),
      script_args=["--quiet", "build_ext", "--build-lib", "compiled"])
"""


class CompileModules(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled modules and the digests of their sources into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the wheel is written.

        Raises:
            RuntimeError: The wheel is editable, or mypyc or the C compiler failed.
        """
        if version == "editable":
            raise RuntimeError("alacarte-compiled cannot be editable: it is made from sources.")
        self._folder = Path(tempfile.mkdtemp())
        modules: list[str] = self.config["modules"]
        # A copy: what is compiled is what the digests are of, whoever edits meanwhile.
        copies = self._folder / "packages"
        roots = sorted({name.split("/")[0] for name in modules})
        for root in roots:
            shutil.copytree(PACKAGES / root / "src", copies / root / "src")
        files = json.dumps([str(copies / name) for name in modules])
        found = os.pathsep.join(str(copies / root / "src") for root in roots)
        done = subprocess.run(
            [sys.executable, "-c", SETUP, files, os.environ.get("MYPYC_OPT_LEVEL", "3")],
            cwd=self._folder,
            env={**os.environ, "MYPYPATH": found},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the modules were not compiled:\n{done.stdout}{done.stderr}")
        compiled = self._folder / "compiled"
        sources = {
            name.partition("/src/")[2]: hashlib.sha256((copies / name).read_bytes()).hexdigest()
            for name in modules
        }
        (compiled / "sources.json").write_text(json.dumps(sources, indent=1))
        build_data["force_include"][str(compiled)] = "alacarte_compiled/modules"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel now."""
        shutil.rmtree(self._folder)
