"""Small tools that know nothing of models: clock, backoff, tasks, disk, failpoints, redaction."""
