"""What a host needs to run a configuration as a service: systemd units, or a container."""
