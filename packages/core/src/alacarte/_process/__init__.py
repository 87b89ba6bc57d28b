"""The part of an instance in each process that calls deployments."""
