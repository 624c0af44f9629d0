"""The demo backend: text and JSON without a model, at any rate."""
