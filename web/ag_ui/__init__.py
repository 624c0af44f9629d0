"""``/agui``: runs of the AG-UI protocol, translated from jobs and logs, for existing clients on any upstream.

https://docs.ag-ui.com. Tools are the client's; there is no shared state, and a run is one answer of the model.
"""
