"""WebSockets: the client's side, the bytes between, the application's side."""
