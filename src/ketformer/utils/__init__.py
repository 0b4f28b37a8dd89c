"""Helpers that every package may use: files, this machine, bars, timing, the registry."""
