"""The lab of real hosts: what starts processes, mounts and namespaces for it."""
