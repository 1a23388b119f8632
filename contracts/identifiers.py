"""How things are named. Ids are random: none can be guessed from another."""

import re
import secrets
import string
import uuid

HEX12 = re.compile(r"[0-9a-f]{12}")
BASE36_8 = re.compile(r"[0-9a-z]{8}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_dataset_id() -> str:
    """Twelve hex digits, as in the ReMap document."""
    return secrets.token_hex(6)


def new_capture_job_id() -> str:
    """Twelve hex digits, as in the ReMap document."""
    return secrets.token_hex(6)


def new_object_job_id() -> str:
    """Eight characters of 0-9 and a-z, as in the six-view document."""
    return "".join(secrets.choice(string.digits + string.ascii_lowercase) for _ in range(8))


def new_uuid_job_id() -> str:
    """A UUID, as in the documents of Cloud2BIM and of scenes."""
    return str(uuid.uuid4())


def new_event_id() -> str:
    """A UUID: unique over every job, and the deduplication id of its publish."""
    return str(uuid.uuid4())
