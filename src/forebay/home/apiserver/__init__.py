"""The Kubernetes-shaped API server of the embedded home, on starlette, over the store's seven verbs."""
