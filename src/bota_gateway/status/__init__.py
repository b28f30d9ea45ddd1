"""What the daemon tells: events and logs, and the local API that the command line asks."""
