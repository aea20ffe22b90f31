"""The data plane: requests to ready pods."""
