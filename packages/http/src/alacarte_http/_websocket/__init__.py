"""WebSockets: client connections in the proxy, the messages between, ASGI sessions in replicas."""
