"""The process that listens: from a request to a deployment, and back."""
