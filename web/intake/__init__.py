"""Intake of jobs: bounded bodies, their fields, their references, and acceptance."""
