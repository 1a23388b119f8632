"""Every metric's name, as a literal. Names are part of what operators build on: add, never rename."""

from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram

JOBS_FINISHED = Counter("alidade_jobs_finished_total", "Stages of jobs by outcome.", ["service", "kind", "outcome"])
STAGE_SECONDS = Histogram(
    "alidade_stage_seconds",
    "Wall time of one stage of one job, from taking the work to handing it on.",
    ["service", "kind"],
    buckets=(1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600),
)
JOBS_RUNNING = Gauge("alidade_jobs_running", "Jobs that this worker computes at this moment.", ["service"])
STEPS_REUSED = Counter("alidade_steps_reused_total", "Steps whose stored output was used again.", ["service", "step"])
HTTP_REQUESTS = Counter("api_requests_total", "HTTP requests.", ["method", "endpoint", "status"])
HTTP_ERRORS = Counter("api_errors_total", "HTTP answers with a 4xx or 5xx status.", ["endpoint"])
UPLOAD_BYTES = Counter("alidade_upload_bytes_total", "Bytes taken in by uploads.")
SSE_CLIENTS = Gauge("alidade_sse_clients", "Open streams of Server-Sent Events.")
SSE_DROPPED = Counter("alidade_sse_dropped_total", "Streams cut because the client read too slowly.")


class Named(NamedTuple):
    """A metric that is gathered when it is asked for, out of what the job log and the bus say."""

    name: str
    description: str


INFERENCE_LATENCY = Named(
    "inference_latency_seconds", "Wall time of completed scene jobs, from when a worker took them up to their end."
)
LATENCY_BUCKETS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 2700, 3600)
REGISTERED_IMAGES_RATIO = Named(
    "registered_images_ratio", "Share of the pictures that the last completed scene job placed; NaN before the first."
)
ACTIVE_JOBS = Named("active_jobs_total", "Scene jobs under way at this moment.")
MODEL_SERVER_READY = Named("model_server_ready", "1 if a worker for scenes answers and is ready, otherwise 0.")
DATA_VALID_IMAGES = Named(
    "data_valid_images_total", "Usable pictures of the newest scene job whose pictures are counted."
)
QUEUE_DEPTH = Named("alidade_queue_depth", "Jobs that wait for a worker of the service.")
