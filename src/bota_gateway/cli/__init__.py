"""The command line: runs the daemon, asks the running one, decodes, demonstrates and simulates."""
