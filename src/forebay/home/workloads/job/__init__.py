"""Job: pods that run to an end."""
