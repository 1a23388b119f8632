"""Every endpoint of the ReMap document, field by field and status by status."""
