"""The documentation at ``/docs``: the Markdown files of this version, as pages."""
