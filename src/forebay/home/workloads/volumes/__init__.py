"""PersistentVolumes and claims: binding, release, protection."""
