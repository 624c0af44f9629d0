"""The demo: text and JSON without a model, at any rate."""
