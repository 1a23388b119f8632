"""How things are named. Ids are random: none can be guessed from another."""

import re
import secrets
import uuid

HEX12 = re.compile(r"[0-9a-f]{12}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_dataset_id() -> str:
    """Twelve hex digits, as in the ReMap document."""
    return secrets.token_hex(6)


def new_capture_job_id() -> str:
    """Twelve hex digits, as in the ReMap document."""
    return secrets.token_hex(6)


def new_uuid_job_id() -> str:
    """A UUID, as in the Cloud2BIM document."""
    return str(uuid.uuid4())


def new_event_id() -> str:
    """A UUID: unique over every job, and the deduplication id of its publish."""
    return str(uuid.uuid4())
