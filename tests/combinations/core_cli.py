"""Core and the command line: the programs are there, and know which plugins are."""

from checks import done, installed, programs, shell

installed("cli")
programs()
listed = shell("alacarte", "plugins")
assert "cli" in listed, listed
assert "alacarte-http" not in listed, listed
done()
