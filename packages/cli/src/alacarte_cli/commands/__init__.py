"""The subcommands of `serve` that this package gives, one in each module as `command`."""
