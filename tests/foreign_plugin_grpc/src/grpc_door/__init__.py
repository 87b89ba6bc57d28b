"""Applications over gRPC, by their names: a plugin that alacarte knows nothing of."""
