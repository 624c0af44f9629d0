"""Quarantine: the pool of processes for suspected poison jobs, and the program that runs in them."""
