"""The narrow waist: seven verbs over Kubernetes objects, in two homes."""
