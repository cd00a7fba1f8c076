"""What a host needs to run a configuration as a service: systemd units, a Slurm job, or a container."""
