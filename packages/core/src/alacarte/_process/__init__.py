"""The runtime of each process that calls deployments: routers, subscription, reports."""
