"""A plugin that alacarte knows nothing of."""
