"""The controller: desired state, reconciliation, and publication of snapshots."""
