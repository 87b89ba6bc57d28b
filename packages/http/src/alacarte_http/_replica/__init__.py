"""HTTP where user code runs: plain handlers and ASGI applications."""
