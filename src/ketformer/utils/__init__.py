"""What every room may use: files, this machine, bars, timing, the registry."""
