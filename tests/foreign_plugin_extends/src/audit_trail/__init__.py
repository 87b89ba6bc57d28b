"""An audit trail of the calls that replicas run."""
