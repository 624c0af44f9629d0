"""Intake of jobs: bounded bodies, drafts, their references, and acceptance."""
