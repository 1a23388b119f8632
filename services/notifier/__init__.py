"""Fans the job log out as Server-Sent Events."""
