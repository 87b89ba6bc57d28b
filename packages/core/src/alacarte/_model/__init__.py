"""What a user declares: deployments and applications, and the flat specs they become."""
