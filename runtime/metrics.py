"""Every metric's name, as a literal. Names are part of what operators build on: add, never rename."""

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
