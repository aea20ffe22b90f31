"""InferenceService: runtime, storage plan, Deployment, Service, autoscaler and status."""
