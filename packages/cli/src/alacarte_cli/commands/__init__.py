"""The subcommands of this package, one in each module as `command`."""
