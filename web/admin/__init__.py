"""The admin API: ``/admin/…``, for credentials with the scope ``admin``."""
