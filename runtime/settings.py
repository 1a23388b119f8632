"""Every setting of every service, with defaults that work on one machine with no file at all.

Read from the environment (`ALIDADE_BUS__URL=nats://…`) and, below it, from the TOML file named by `ALIDADE_CONFIG`.
A name that does not exist is refused at start: a misspelt setting must not pass for a default.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from contracts.errors import ConfigurationError

PREFIX = "ALIDADE_"
CONFIG_VARIABLE = "ALIDADE_CONFIG"
MIB = 1 << 20
GIB = 1 << 30


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class BusSettings(_Group):
    """The NATS server or cluster."""

    url: str = Field(default="nats://127.0.0.1:4222", repr=False)
    """May hold a token: `nats://<token>@host:4222`."""
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Copies of every stream: 1 on one machine, 3 on a cluster."""
    keep_jobs_s: Annotated[float, Field(ge=3600)] = 30 * 86400.0
    """How long the log of a job is kept."""


class StoreSettings(_Group):
    """The S3 object store."""

    endpoint_url: str = "http://127.0.0.1:8333"
    access_key: str = "alidade"
    secret_key: str = Field(default="", repr=False)
    bucket: str = "alidade"
    region: str = "us-east-1"


class LogSettings(_Group):
    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class OpsSettings(_Group):
    """Where `/healthz`, `/readyz` and `/metrics` of a service are."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 takes any free port and logs it."""


class AccessSettings(_Group):
    """Who may come in."""

    file: Path = Path(".alidade/access.json")
    """Hashed API keys, hashed passwords and token secrets. Made at first start if it does not exist."""
    anonymous: Literal["loopback", "always", "never"] = "loopback"
    """When the APIs that are documented without authentication may be used without a key.

    `loopback`: while the gateway is bound to a loopback address only.
    """
    token_lifetime_s: Annotated[int, Field(ge=1)] = 900
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call the APIs from; `*` for every one."""


class GatewaySettings(_Group):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    remap_port: Annotated[int, Field(ge=0, le=65535)] | None = 5000
    """The ReMap API's documented port, served besides `port`; null for none."""
    upload_limit_bytes: Annotated[int, Field(ge=1)] = 10 * GIB
    cloud_limit_bytes: Annotated[int, Field(ge=1)] = 10 * GIB
    """Largest point cloud that is taken."""
    photos_limit_bytes: Annotated[int, Field(ge=1)] = 500 * MIB
    """Largest archive of photographs that is taken."""
    view_limit_bytes: Annotated[int, Field(ge=1)] = 20 * MIB
    """Largest picture of an object that is taken."""
    views_limit_bytes: Annotated[int, Field(ge=1)] = 200 * MIB
    """Of all pictures of one object together."""
    rate_limit_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Point clouds that one client may submit a minute, as many of them at once; null for no limit."""
    inspect_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    notifier_url: str = "http://127.0.0.1:8010"
    """Where the streams of Server-Sent Events are forwarded to."""


class NotifierSettings(_Group):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8010
    heartbeat_s: Annotated[float, Field(gt=0)] = 15.0
    client_queue: Annotated[int, Field(ge=1)] = 64
    """Events that may wait for one client; a client that falls further behind is dropped and resumes by id."""


class WorkerSettings(_Group):
    """Every service that takes work."""

    concurrency: Annotated[int, Field(ge=1)] = 1
    """Jobs that one worker process computes at the same time."""
    scratch: Path = Path(".alidade/scratch")
    memory_bytes: Annotated[int, Field(ge=64 * MIB)] = 12 * GIB
    """Limit of one child process with all it starts."""
    deadline_s: Annotated[float, Field(gt=0)] = 6 * 3600.0
    """Limit of one stage of one job."""
    ack_wait_s: Annotated[float, Field(ge=2)] = 30.0
    """How long a silent worker keeps its work before another one takes it."""
    max_attempts: Annotated[int, Field(ge=1)] = 4
    """Failures that are not the user's fault before the job is given up."""
    max_deliveries: Annotated[int, Field(ge=1)] = 100
    """How often work may be taken before an outage of the bus or the object store counts as a failure of the job:
    with the pauses below, after some eight hours."""
    retry_base_s: Annotated[float, Field(ge=0)] = 2.0
    retry_limit_s: Annotated[float, Field(ge=0)] = 300.0


class RetentionSettings(_Group):
    uploads_s: Annotated[float, Field(gt=0)] = 7 * 86400.0
    """Uploads and step outputs go this long after the data set was last used by a job."""
    results_s: Annotated[float, Field(gt=0)] = 30 * 86400.0
    object_results_s: Annotated[float, Field(gt=0)] = 86400.0
    """Of object jobs, whose API promises a day."""
    sweep_s: Annotated[float, Field(gt=0)] = 300.0
    """How often expired objects, forgotten uploads and stranded jobs are looked for."""
    stranded_s: Annotated[float, Field(gt=0)] = 60.0
    """A waiting job without an event for this long is queued again, if its work is not in the queue."""


class GpuSettings(_Group):
    """The graphics card of a worker."""

    required: bool = False
    """Without one the worker is unhealthy, and what would rather run on it fails instead of taking the built-in way."""


class WeightsSettings(_Group):
    """Where workers look for the weights of networks. They download none: `alidade weights pull` does."""

    folder: Path = Path(".alidade/weights")
    """As `alidade weights pull` fills it."""
    hub_cache: Path | None = None
    """The Hugging Face hub's own cache, looked through after the folder; null for none."""
    store_prefix: str | None = None
    """Prefix in the object store, laid out as the folder is, from which the folder is filled when a job needs it."""


class AirflowSettings(_Group):
    """Where a retraining is asked for."""

    url: str | None = None
    """For instance http://airflow:8080; null where there is none, and asking is answered with 502."""
    token: str | None = Field(default=None, repr=False)
    """Sent as a bearer token."""
    username: str | None = None
    """With `password`: a token is asked for at `/auth/token` before the call."""
    password: str | None = Field(default=None, repr=False)
    timeout_s: Annotated[float, Field(gt=0)] = 10.0


class ClientSettings(_Group):
    """What the `alidade` command reads. Services ignore it; it is here so that they do not refuse it."""

    url: str | None = None
    api_key: str | None = Field(default=None, repr=False)


class Settings(BaseSettings):
    """All settings. Frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    bus: BusSettings = BusSettings()
    store: StoreSettings = StoreSettings()
    logs: LogSettings = LogSettings()
    ops: OpsSettings = OpsSettings()
    access: AccessSettings = AccessSettings()
    gateway: GatewaySettings = GatewaySettings()
    notifier: NotifierSettings = NotifierSettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    gpu: GpuSettings = GpuSettings()
    weights: WeightsSettings = WeightsSettings()
    airflow: AirflowSettings = AirflowSettings()
    client: ClientSettings = ClientSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; there is no other source."""
        path = os.environ.get(CONFIG_VARIABLE)
        file = (TomlConfigSettingsSource(settings_cls, toml_file=path),) if path else ()
        return (init_settings, env_settings, *file)


def load_settings() -> Settings:
    """Settings from the environment and the file it names.

    Raises ConfigurationError that names every unknown or impossible setting.
    """
    _refuse_unknown_variables(os.environ)
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise ConfigurationError(f"{CONFIG_VARIABLE} names {path}, which is not a file.")
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"These settings cannot be used: {wrong}.") from error


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """pydantic-settings refuses unknown names inside a group, but overlooks unknown groups in the environment."""
    groups = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = [
        name
        for name in environment
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE and name.split("__", 1)[0] not in groups
    ]
    if unknown:
        known = ", ".join(sorted(f"{group}__…" for group in groups))
        raise ConfigurationError(f"Unknown settings in the environment: {', '.join(sorted(unknown))}. Known: {known}.")
