"""How jobs come in: bodies within limits, their fields, what they refer to, and accepting them."""
