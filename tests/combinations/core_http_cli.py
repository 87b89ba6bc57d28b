"""Core, HTTP and the command line: `alacarte run` from a shell, until Ctrl-C."""

from checks import done, free_port, installed, programs
from serving import serve_run

installed("cli", "http")
programs()
serve_run("serve", free_port())
serve_run("alacarte", free_port())
done()
