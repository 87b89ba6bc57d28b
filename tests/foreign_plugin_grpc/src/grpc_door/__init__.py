"""gRPC ingress for applications, as an example of a foreign plugin."""
