"""What crosses a process boundary: models, subjects, object keys, pipelines and error codes.

Imports pydantic and the standard library, nothing else.
"""
